"""vSphere Backup Manager: backup, verification and restore of VMware vSphere virtual machines."""

__version__ = "0.1.0"
