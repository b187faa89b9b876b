"""ServiceInstance: where every client begins."""

from __future__ import annotations

from typing import Any

from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.soap import Call
from vbm.lab.vmodl import reference, vim

SINGLETONS = {
    "propertyCollector": ("PropertyCollector", "propertyCollector"),
    "viewManager": ("ViewManager", "ViewManager"),
    "sessionManager": ("SessionManager", "SessionManager"),
    "searchIndex": ("SearchIndex", "SearchIndex"),
    "fileManager": ("FileManager", "FileManager"),
    "virtualDiskManager": ("VirtualDiskManager", "virtualDiskManager"),
    "taskManager": ("TaskManager", "TaskManager"),
    "eventManager": ("EventManager", "EventManager"),
    "authorizationManager": ("AuthorizationManager", "AuthorizationManager"),
    "licenseManager": ("LicenseManager", "LicenseManager"),
    "customFieldsManager": ("CustomFieldsManager", "CustomFieldsManager"),
    "ovfManager": ("OvfManager", "OvfManager"),
    "extensionManager": ("ExtensionManager", "ExtensionManager"),
    "setting": ("OptionManager", "VpxSettings"),
}


class ServiceInstance(ManagedObject):
    type_name = "ServiceInstance"

    @prop("content")
    def content(self) -> Any:
        state = self.context.state
        content = vim.ServiceInstanceContent(
            rootFolder=reference("Folder", state.root_folder), about=self._about()
        )
        for field, (kind, moid) in SINGLETONS.items():
            setattr(content, field, reference(kind, moid))
        return content

    def _about(self) -> Any:
        about = self.context.state.about
        return vim.AboutInfo(
            name=about.name,
            fullName=f"{about.name} {about.version} build-{about.build}",
            vendor="VMware, Inc.",
            version=about.version,
            build=about.build,
            localeVersion="INTL",
            localeBuild="000",
            osType="linux-x64",
            productLineId="vpx" if about.api_type == "VirtualCenter" else "embeddedEsx",
            apiType=about.api_type,
            apiVersion=about.api_version,
            instanceUuid=about.instance_uuid,
            licenseProductName="VMware VirtualCenter Server",
            licenseProductVersion=about.version.partition(".")[0] + ".0",
        )

    @prop("serverClock")
    def server_clock(self) -> Any:
        return self.context.clock.now()

    @prop("capability")
    def capability(self) -> Any:
        return vim.Capability(
            provisioningSupported=True, multiHostSupported=True, userShellAccessSupported=False
        )

    @operation("RetrieveServiceContent")
    def retrieve_content(self, call: Call) -> Any:  # noqa: ARG002
        return self.content()

    @operation("CurrentTime")
    def current_time(self, call: Call) -> Any:  # noqa: ARG002
        return self.context.clock.now()
