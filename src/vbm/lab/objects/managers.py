"""Small services: events, authorisation, licences, custom fields, extensions, settings."""

from __future__ import annotations

from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.objects.entity import field_definitions
from vbm.lab.privileges import EVERYTHING
from vbm.lab.soap import Call
from vbm.lab.vmodl import reference, support, vim


class EventManager(ManagedObject):
    """Tells of reverts, which make older change ids worthless."""

    type_name = "EventManager"

    @prop("latestEvent")
    def latest_event(self) -> Any:
        events = self.context.events.all()
        return events[-1] if events else None

    @prop("maxCollector")
    def max_collector(self) -> int:
        return 1000

    @operation("QueryEvents")
    def query_events(self, call: Call) -> Any:
        return [event for event in self.context.events.all() if _wanted(event, call.args.filter)]


def _wanted(event: Any, spec: Any) -> bool:
    kinds = [*(spec.eventTypeId or []), *(support.GetWsdlName(kind) for kind in spec.type or [])]
    names = {support.GetWsdlName(cls) for cls in type(event).__mro__ if issubclass(cls, vim.event.Event)}
    names |= {"vim.event." + name for name in names}
    if kinds and not names & set(kinds):
        return False
    if spec.entity is not None and event.vm is not None and spec.entity.entity != event.vm.vm:
        return isinstance(spec.entity.entity, (vim.Folder, vim.Datacenter))
    times = spec.time
    return times is None or (
        (times.beginTime is None or event.createdTime >= times.beginTime)
        and (times.endTime is None or event.createdTime <= times.endTime)
    )


class AuthorizationManager(ManagedObject):
    type_name = "AuthorizationManager"

    @prop("roleList")
    def role_list(self) -> Any:
        info = vim.Description(label="", summary="")
        return [
            vim.AuthorizationManager.Role(
                roleId=-1, system=True, name="Admin", info=info, privilege=["System.Read"]
            ),
            vim.AuthorizationManager.Role(
                roleId=-2, system=True, name="ReadOnly", info=info, privilege=["System.Read"]
            ),
        ]

    @operation("HasPrivilegeOnEntities")
    def has_privilege_on_entities(self, call: Call) -> Any:
        user = self._user(call)
        return [
            vim.AuthorizationManager.EntityPrivilege(
                entity=entity, privAvailability=[self._availability(user, priv) for priv in call.args.privId]
            )
            for entity in call.args.entity
        ]

    @operation("HasPrivilegeOnEntity")
    def has_privilege_on_entity(self, call: Call) -> Any:
        user = self._user(call)
        return [bool(user.may(privilege)) for privilege in call.args.privId]

    @operation("FetchUserPrivilegeOnEntities")
    def fetch_user_privileges(self, call: Call) -> Any:
        user = self.context.users.find(call.args.userName)
        if user is None:
            raise refusal("UserNotFound", f"no user {call.args.userName}", principal=call.args.userName)
        names = sorted(EVERYTHING if "*" in user.privileges else user.privileges)
        return [
            vim.AuthorizationManager.UserPrivilegeResult(entity=entity, privileges=names)
            for entity in call.args.entities
        ]

    def _user(self, call: Call) -> Any:
        session = self.context.sessions.by_key(call.args.sessionId)
        if session is None:
            raise refusal("NotFound", "no such session")
        return session.user

    def _availability(self, user: Any, privilege: str) -> Any:
        return vim.AuthorizationManager.PrivilegeAvailability(
            privId=privilege, isGranted=bool(user.may(privilege))
        )


class LicenseManager(ManagedObject):
    type_name = "LicenseManager"

    @prop("licenses")
    def licenses(self) -> Any:
        free = self.context.options.licence == "free"
        edition = "esxBasic" if free else "esx.enterprisePlus.cpuPackageCoreLimited"
        name = "VMware vSphere Hypervisor" if free else "VMware vSphere 8 Enterprise Plus"
        return [
            vim.LicenseManager.LicenseInfo(
                licenseKey="00000-00000-00000-00000-00000",
                editionKey=edition,
                name=name,
                total=0,
                costUnit="cpuPackage",
            )
        ]

    @prop("licensedEdition")
    def licensed_edition(self) -> str:
        return str(self.licenses()[0].editionKey)


class CustomFieldsManager(ManagedObject):
    type_name = "CustomFieldsManager"

    @prop("field")
    def field(self) -> Any:
        return field_definitions(self.context.state)

    @operation("AddCustomFieldDef")
    def add_custom_field_def(self, call: Call) -> Any:
        state = self.context.state
        if call.args.name in state.custom_fields.values():
            raise refusal(
                "DuplicateName", f"there is a field {call.args.name!r}", name=call.args.name, object=self.ref
            )
        key = state.new_id()
        state.custom_fields[key] = call.args.name
        state.touch(state.root_folder)
        return next(each for each in field_definitions(state) if each.key == key)

    @operation("RemoveCustomFieldDef")
    def remove_custom_field_def(self, call: Call) -> None:
        state = self.context.state
        if state.custom_fields.pop(call.args.key, None) is None:
            raise refusal("NotFound", "no such field")
        for values in state.custom_values.values():
            values.pop(call.args.key, None)
        state.touch(state.root_folder)

    @operation("SetField")
    def set_field(self, call: Call) -> None:
        state = self.context.state
        if call.args.key not in state.custom_fields:
            raise refusal("InvalidArgument", "no such field", invalidProperty="key")
        state.custom_values.setdefault(call.args.entity._moId, {})[call.args.key] = call.args.value
        state.touch(call.args.entity._moId)


class ExtensionManager(ManagedObject):
    type_name = "ExtensionManager"

    @prop("extensionList")
    def extension_list(self) -> Any:
        return []

    @operation("FindExtension")
    def find_extension(self, call: Call) -> None:  # noqa: ARG002
        return None


class OptionManager(ManagedObject):
    type_name = "OptionManager"

    @prop("setting")
    def setting(self) -> Any:
        return [vim.option.OptionValue(key="VirtualCenter.InstanceName", value="lab")]

    @prop("supportedOption")
    def supported_option(self) -> Any:
        return []

    @operation("QueryOptions")
    def query_options(self, call: Call) -> Any:
        name = call.args.name or ""
        found = [option for option in self.setting() if option.key.startswith(name)]
        if not found:
            raise refusal("InvalidName", f"no option {name!r}", name=name, entity=None)
        return found


class EnvironmentBrowser(ManagedObject):
    """What can be configured; govc asks it for hardware versions."""

    type_name = "EnvironmentBrowser"

    @prop("datastoreBrowser")
    def datastore_browser(self) -> Any:
        store = next(iter(self.context.state.datastores))
        return reference("HostDatastoreBrowser", f"datastoreBrowser-{store}")

    @operation("QueryConfigOptionDescriptor")
    def query_config_option_descriptor(self, call: Call) -> Any:  # noqa: ARG002
        return [
            vim.vm.ConfigOptionDescriptor(key="vmx-19", description="ESXi 7.0 U2 VM", createSupported=True)
        ]
