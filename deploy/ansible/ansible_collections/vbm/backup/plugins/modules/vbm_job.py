#!/usr/bin/python
from __future__ import annotations

DOCUMENTATION = r"""
module: vbm_job
short_description: Manage jobs of vSphere Backup Manager
description:
  - Creates, changes and deletes jobs over the REST API. What is not written is left as it is.
version_added: "0.1.0"
author: The vSphere Backup Manager developers
options:
  server:
    description: Address of the server, such as C(https://vbm.example.org:8443). E(VBM_SERVER) where it is left out.
    type: str
    required: true
  api_key:
    description: An API key with the role admin. E(VBM_API_KEY) where it is left out.
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
  name:
    description: What the job is called.
    type: str
    required: true
  state:
    description: Whether it is to be there.
    type: str
    choices: [present, absent]
    default: present
  vcenter:
    description: Name or id of its vCenter. Needed for a new job.
    type: str
  repository:
    description: Name or id of its repository. Needed for a new job.
    type: str
  selection:
    description:
      - "Which VMs: lists O(ignore:vms), O(ignore:folders), O(ignore:tags), O(ignore:resource_pools), O(ignore:attributes), and O(ignore:exclude) with the same."
      - It is taken as a whole. Needed for a new job.
    type: dict
  schedule:
    description: C(cron), C(timezone), C(window), C(window_end), C(misfire_grace_seconds).
    type: dict
  retention:
    description: C(keep_last), C(keep_days), C(gfs) with C(daily), C(weekly), C(monthly), C(yearly).
    type: dict
  limits:
    description: C(parallel_vms), C(bytes_per_second).
    type: dict
  retries:
    description: C(attempts), C(wait_seconds).
    type: dict
  enabled:
    description: Whether its schedule counts.
    type: bool
  mode:
    description: How it reads.
    type: str
    choices: [auto, full]
  active_full_every:
    description: Read everything at each so-manyth backup.
    type: int
  quiesce:
    description: Bring the guest to rest.
    type: bool
  excluded_disks:
    description: Keys of disks that are left out.
    type: list
    elements: int
  priority:
    description: Lower goes first.
    type: int
  deadline_seconds:
    description: A run is stopped after so long.
    type: int
  snapshot_timeout_seconds:
    description: People are told of a snapshot that is older.
    type: int
  verify:
    description: What is checked of each new restore point.
    type: str
    choices: [none, quick, full]
  notifications:
    description: "Channels and what they are told: C(channel_id) (name or id) and C(on)."
    type: list
    elements: dict
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the fields that change.
"""

EXAMPLES = r"""
- name: The web servers are backed up every night
  vbm.backup.vbm_job:
    server: https://vbm.example.org:8443
    api_key: "{{ vault_vbm_api_key }}"
    name: web
    vcenter: prod
    repository: main
    selection:
      vms: ["web*"]
    schedule:
      cron: "0 3 * * *"
    retention:
      keep_days: 14

- name: Not in the holidays
  vbm.backup.vbm_job:
    name: web
    enabled: false
"""

RETURN = r"""
job:
  description: The job as the server has it, or would have it; none where it is absent.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vbm.backup.plugins.module_utils.api import ARGUMENTS, Api, ApiProblemError

SELECTORS = ("vms", "folders", "tags", "resource_pools", "attributes")
PLAIN = (
    "schedule",
    "retention",
    "limits",
    "retries",
    "enabled",
    "mode",
    "active_full_every",
    "quiesce",
    "excluded_disks",
    "priority",
    "deadline_seconds",
    "snapshot_timeout_seconds",
    "verify",
)


def wanted_of(api, params):
    """The part of a job document that the play says, with ids instead of names."""
    wanted = {name: params[name] for name in PLAIN if params[name] is not None}
    for name, kind in (("vcenter", "vcenters"), ("repository", "repositories")):
        if params[name] is not None:
            wanted[name + "_id"] = api.get(kind, params[name])[0]["id"]
    if params["selection"] is not None:
        wanted["selection"] = whole_selection(params["selection"])
    if params["notifications"] is not None:
        wanted["notifications"] = [
            dict(notice, channel_id=api.get("notification-channels", notice["channel_id"])[0]["id"])
            for notice in params["notifications"]
        ]
    return wanted


def whole_selection(given):
    """With every list there is, so that what is not written is emptied."""
    exclude = given.get("exclude") or {}
    if isinstance(exclude, list):
        exclude = {"vms": exclude}
    unknown = sorted((set(given) - set(SELECTORS) - {"exclude"}) | (set(exclude) - set(SELECTORS)))
    if unknown:
        raise ValueError(f"selection has no field {', '.join(unknown)}")
    whole = {name: list(given.get(name) or []) for name in SELECTORS}
    whole["exclude"] = {name: list(exclude.get(name) or []) for name in SELECTORS}
    return whole


def differences(wanted, known):
    """The wanted fields that are otherwise, objects field by field; lists as a whole."""
    found = {}
    for name, value in wanted.items():
        there = known.get(name)
        if isinstance(value, dict):
            inner = differences(value, there if isinstance(there, dict) else {})
            if inner:
                found[name] = inner
        elif value != there and not (value == [] and not there):
            found[name] = value
    return found


def part(document, shape):
    """The fields of a document that the shape has."""
    return {
        name: part(document.get(name) or {}, value) if isinstance(value, dict) else document.get(name)
        for name, value in shape.items()
    }


def merged(document, change):
    result = dict(document)
    for name, value in change.items():
        inner = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if inner else value
    return result


def ensure(module, api):
    """What is to be told of it."""
    params = module.params
    known, etag = api.find("jobs", params["name"])
    if params["state"] == "absent":
        if known is not None and not module.check_mode:
            api.delete(etag, "jobs", known["id"])
        diff = {"before": known or {}, "after": {}}
        return {"changed": known is not None, "job": None, "diff": diff}
    wanted = wanted_of(api, params)
    if known is None:
        missing = [name for name in ("vcenter", "repository", "selection") if params[name] is None]
        if missing:
            module.fail_json(msg="a new job needs {}".format(", ".join(missing)))
        document = dict(wanted, name=params["name"])
        job = document if module.check_mode else api.post("jobs", **document)
        return {"changed": True, "job": job, "diff": {"before": {}, "after": document}}
    change = differences(wanted, known)
    if not change:
        return {"changed": False, "job": known, "diff": {"before": {}, "after": {}}}
    if "selection" in change:
        change["selection"] = wanted["selection"]
    after = merged(known, change)
    job = after if module.check_mode else api.patch(etag, "jobs", known["id"], **change)
    diff = {"before": part(known, change), "after": part(after, change)}
    return {"changed": True, "job": job, "diff": diff}


def main():
    module = AnsibleModule(
        argument_spec=dict(
            ARGUMENTS,
            name={"type": "str", "required": True},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            vcenter={"type": "str"},
            repository={"type": "str"},
            selection={"type": "dict"},
            schedule={"type": "dict"},
            retention={"type": "dict"},
            limits={"type": "dict"},
            retries={"type": "dict"},
            enabled={"type": "bool"},
            mode={"type": "str", "choices": ["auto", "full"]},
            active_full_every={"type": "int"},
            quiesce={"type": "bool"},
            excluded_disks={"type": "list", "elements": "int"},
            priority={"type": "int"},
            deadline_seconds={"type": "int"},
            snapshot_timeout_seconds={"type": "int"},
            verify={"type": "str", "choices": ["none", "quick", "full"]},
            notifications={"type": "list", "elements": "dict"},
        ),
        supports_check_mode=True,
    )
    try:
        result = ensure(module, Api(module))
    except (ApiProblemError, ValueError) as problem:
        module.fail_json(msg=str(problem), code=getattr(problem, "code", ""))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
