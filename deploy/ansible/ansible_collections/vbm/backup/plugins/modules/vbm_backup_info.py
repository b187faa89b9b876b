#!/usr/bin/python
from __future__ import annotations

DOCUMENTATION = r"""
module: vbm_backup_info
short_description: List restore points of vSphere Backup Manager
description:
  - Restore points that fit all filters given, the newest first, and the newest of each VM.
version_added: "0.1.0"
author: The vSphere Backup Manager developers
options:
  server:
    description: Address of the server. E(VBM_SERVER) where it is left out.
    type: str
    required: true
  api_key:
    description: An API key; the role viewer is enough. E(VBM_API_KEY) where it is left out.
    type: str
    required: true
  ca_path:
    description: PEM file of who issued the server's certificate.
    type: path
  validate_certs:
    description: Whether the server's certificate is checked.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for an answer.
    type: int
    default: 60
  vm:
    description: Of this VM, by its name or instance UUID.
    type: str
  vcenter:
    description: Of VMs of this vCenter.
    type: str
  repository:
    description: In this repository.
    type: str
  job:
    description: Made by this job.
    type: str
  verified:
    description: How they were found when they were verified last.
    type: str
    choices: [never, good, damaged]
  pinned:
    description: Only those that are, or are not.
    type: bool
  since:
    description: Begun then or later, as RFC 3339.
    type: str
attributes:
  check_mode:
    support: full
    description: It changes nothing in any mode.
"""

EXAMPLES = r"""
- name: What is there of the database server
  vbm.backup.vbm_backup_info:
    vm: db01
    verified: good
  register: found

- name: The newest one
  ansible.builtin.debug:
    msg: "{{ found.newest.db01.started | default('none') }}"
"""

RETURN = r"""
backups:
  description: Restore points, the newest first.
  returned: always
  type: list
  elements: dict
newest:
  description: The newest of each VM, by the VM's name.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vbm.backup.plugins.module_utils.api import ARGUMENTS, Api, ApiProblemError

FILTERS = ("vm", "vcenter", "repository", "job", "verified", "since")


def main():
    module = AnsibleModule(
        argument_spec=dict(
            ARGUMENTS,
            vm={"type": "str"},
            vcenter={"type": "str"},
            repository={"type": "str"},
            job={"type": "str"},
            verified={"type": "str", "choices": ["never", "good", "damaged"]},
            pinned={"type": "bool"},
            since={"type": "str"},
        ),
        supports_check_mode=True,
    )
    query = {name: module.params[name] for name in FILTERS}
    if module.params["pinned"] is not None:
        query["pinned"] = "true" if module.params["pinned"] else "false"
    try:
        backups = list(Api(module).items("backups", **query))
    except ApiProblemError as problem:
        module.fail_json(msg=str(problem), code=problem.code)
    newest = {}
    for backup in backups:
        newest.setdefault(backup["vm_name"], backup)
    module.exit_json(changed=False, backups=backups, newest=newest)


if __name__ == "__main__":
    main()
