"""``vbm vm``: what there is to back up."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.text import Text

from vbm.cli import output, site
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, VcenterOption
from vbm.cli.output import Column
from vbm.cli.progress import Remarks
from vbm.cli.signals import cancellable
from vbm.cli.site import Document
from vbm.services import vms
from vbm.services.documents import vm_document
from vbm.services.vms import VmReport
from vbm.services.workspace import Workspace
from vbm.units import format_size
from vbm.vsphere.model import DiskVerdict

app = group("List virtual machines and what of them can be backed up.")
_FIELDS: Final = (
    *("name", "moref", "instance_uuid", "vcenter", "folder", "datacenter", "host", "power_state"),
    *("template", "cbt_enabled", "skip_reason"),
)
_POWER = {"poweredOn": "on", "poweredOff": "off", "suspended": "suspended"}


@app.command("list", epilog=examples("vbm vm list", "vbm vm list --vcenter prod --unprotected --json"))
def list_(
    vcenter: VcenterOption = None,
    *,
    unprotected: Annotated[
        bool, typer.Option("--unprotected", help="Only VMs without any restore point.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the virtual machines of one vCenter, or of all that are known."""
    with site.opened() as here, cancellable("the session is being closed") as cancel:
        found = [vm for vm in here.vms(vcenter, cancel) if not (unprotected and vm["protected"])]
    if as_json:
        output.document([_json(vm) for vm in found])
    elif not found:
        output.say(
            "Every VM has a restore point."
            if unprotected
            else "The account sees no VM there; check its privileges."
        )
    else:
        _show(sorted(found, key=lambda vm: (vm["vcenter"], vm["name"].casefold())))


@app.command("show", epilog=examples("vbm vm show web01", "vbm vm show Finance/web01 --vcenter prod"))
def show(
    vm: Annotated[str, typer.Argument(metavar="VM", help="Name, folder/name, instance UUID or moref.")],
    vcenter: VcenterOption = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one virtual machine: which of its disks can be backed up, and why others can't."""
    with Workspace.from_environment() as workspace, cancellable("the session is being closed") as cancel:
        report = vms.report(workspace, vcenter, vm, Remarks(), cancel)
    if as_json:
        output.document(_report_json(report))
    else:
        _show_report(report)


def _show(found: list[Document]) -> None:
    columns = (
        Column("VM"),
        Column("vCenter", from_width=100),
        Column("Power"),
        Column("Disks", right=True),
        Column("Size", right=True),
        Column("Protected"),
        Column("Remark", from_width=100),
    )
    rows = [
        (
            vm["name"],
            vm["vcenter"],
            _POWER.get(vm["power_state"], vm["power_state"]),
            len(vm["disks"]),
            format_size(sum(disk["capacity_bytes"] for disk in vm["disks"])),
            _protected(vm),
            vm["skip_reason"],
        )
        for vm in found
    ]
    output.table(columns, rows)


def _protected(vm: Document) -> Text:
    if vm["protected"]:
        return Text("yes", style="green")
    return Text("can't be", style="dim") if vm["skip_reason"] else Text("no", style="yellow")


def _show_report(report: VmReport) -> None:
    vm = report.vm
    where = "/".join(p for p in (vm.datacenter, vm.folder) if p)
    output.facts(
        [
            ("VM", vm.name),
            ("Where", f"{where} on {vm.vcenter}, host {vm.host}"),
            ("Instance UUID", vm.instance_uuid),
            ("Power", _POWER.get(vm.power_state, vm.power_state)),
            (
                "Changed block tracking",
                "on" if vm.cbt_enabled else "off" if vm.cbt_supported else "not supported",
            ),
            ("Snapshots", ", ".join(vm.snapshot_names) or "none"),
            ("Protected", "yes" if report.protected else "no"),
        ]
    )
    columns = (
        Column("Disk", right=True),
        Column("Label"),
        Column("Size", right=True),
        Column("Backed up"),
        Column("Datastore", from_width=100),
    )
    output.table(
        columns,
        [
            (d.disk.key, d.disk.label, format_size(d.disk.capacity_bytes), _verdict(d), d.disk.datastore)
            for d in report.disks
        ],
    )
    for remark in (vm.skip_reason, *report.remarks):
        if remark:
            output.result(f"Note: {remark}", style="yellow")


def _verdict(verdict: DiskVerdict) -> Text:
    if verdict.included:
        return Text(f"yes; {verdict.reason}" if verdict.reason else "yes", style="green")
    return Text(
        f"no: {output.clean(verdict.reason)}" + (f" → {verdict.hint}" if verdict.hint else ""), style="yellow"
    )


def _json(vm: Document) -> Document:
    disks = [{name: disk[name] for name in ("key", "label", "capacity_bytes")} for disk in vm["disks"]]
    return {name: vm[name] for name in _FIELDS} | {"disks": disks, "protected": vm["protected"]}


def _report_json(report: VmReport) -> dict[str, object]:
    document = vm_document(report.vm, protected=report.protected)
    document["snapshots"] = list(report.vm.snapshot_names)
    document["remarks"] = list(report.remarks)
    document["disks"] = [
        {
            "key": v.disk.key,
            "label": v.disk.label,
            "capacity_bytes": v.disk.capacity_bytes,
            "datastore": v.disk.datastore,
            "included": v.included,
            "reason": v.reason,
            "hint": v.hint,
        }
        for v in report.disks
    ]
    return document
