"""OvfManager: an OVF descriptor as a specification to import, and a machine as an OVF descriptor."""

from __future__ import annotations

from typing import Any

from vbm.lab import ovf_document
from vbm.lab.errors import refusal
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.soap import Call
from vbm.lab.vmodl import vim, vmodl


class OvfManager(ManagedObject):
    type_name = "OvfManager"

    @prop("ovfImportOption", "ovfExportOption")
    def options(self) -> Any:
        return []

    @operation("ParseDescriptor")
    def parse_descriptor(self, call: Call) -> Any:
        document = self._read(call.args.ovfDescriptor)
        return vim.OvfManager.ParseDescriptorResult(
            defaultEntityName=document.name,
            virtualApp=False,
            approximateDownloadSize=sum(f.size for f in document.files),
            approximateFlatDeploymentSize=sum(d.capacity_bytes for d in document.disks),
            approximateSparseDeploymentSize=sum(d.capacity_bytes for d in document.disks),
            defaultDeploymentOption="",
            network=[vim.OvfManager.NetworkInfo(name=name, description="") for name in document.networks],
            annotation="",
        )

    @operation("CreateImportSpec")
    def create_import_spec(self, call: Call) -> Any:
        params = call.args.cisp
        document = self._read(call.args.ovfDescriptor)
        name = params.entityName or document.name
        networks = {mapping.name: mapping.network for mapping in params.networkMapping}
        thin = params.diskProvisioning in {None, "", "thin", "sparse", "monolithicSparse"}
        try:
            spec, items = ovf_document.import_spec(document, name, networks, thin=thin)
        except ovf_document.OvfError as error:
            return vim.OvfManager.CreateImportSpecResult(error=[vmodl.MethodFault(msg=str(error))])
        store = self.context.state.datastores.get(call.args.datastore._moId)
        if store is None:
            raise refusal("InvalidDatastore", "no such datastore")
        spec.configSpec.files = vim.vm.FileInfo(vmPathName=f"[{store.name}]")
        return vim.OvfManager.CreateImportSpecResult(importSpec=spec, fileItem=items)

    @operation("CreateDescriptor")
    def create_descriptor(self, call: Call) -> Any:
        machine = self.context.state.machine(call.args.obj._moId)
        text = ovf_document.describe(machine, [*call.args.cdp.ovfFiles])
        return vim.OvfManager.CreateDescriptorResult(ovfDescriptor=text)

    def _read(self, text: str) -> Any:
        try:
            return ovf_document.parse(text)
        except ovf_document.OvfError as error:
            raise refusal("OvfInvalidPackage", str(error)) from error
