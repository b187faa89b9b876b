"""Machines to JSON and back. Layers are written once per machine and named by id in the chains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from vbm.clock import parse_rfc3339, rfc3339
from vbm.lab.model import Controller, Layer, MachineConfig, Nic, SnapshotNode, VirtualDisk

Json = dict[str, Any]


def layers_to_json(configs: list[MachineConfig]) -> list[Json]:
    """Every layer that any of the configurations goes through, once."""
    found = {layer.id: layer for config in configs for disk in config.disks for layer in disk.layers}
    return [asdict(layer) for layer in found.values()]


def layers_from_json(documents: list[Json]) -> dict[str, Layer]:
    return {document["id"]: Layer(**document) for document in documents}


def config_to_json(config: MachineConfig) -> Json:
    document = {field.name: getattr(config, field.name) for field in fields(config)}
    document["controllers"] = [asdict(each) for each in config.controllers]
    document["nics"] = [asdict(each) for each in config.nics]
    document["disks"] = [_disk_to_json(each) for each in config.disks]
    return document


def config_from_json(document: Json, layers: Mapping[str, Layer]) -> MachineConfig:
    values = dict(document)
    values["controllers"] = [Controller(**each) for each in document["controllers"]]
    values["nics"] = [Nic(**each) for each in document["nics"]]
    values["extra_config"] = dict(document["extra_config"])
    values["disks"] = [_disk_from_json(each, layers) for each in document["disks"]]
    return MachineConfig(**values)


def _disk_to_json(disk: VirtualDisk) -> Json:
    document = {field.name: getattr(disk, field.name) for field in fields(disk)}
    document["layers"] = [layer.id for layer in disk.layers]
    return document


def _disk_from_json(document: Json, layers: Mapping[str, Layer]) -> VirtualDisk:
    return VirtualDisk(**{**document, "layers": [layers[each] for each in document["layers"]]})


def snapshot_to_json(node: SnapshotNode) -> Json:
    document = {field.name: getattr(node, field.name) for field in fields(node)}
    document["created"] = rfc3339(node.created)
    document["config"] = config_to_json(node.config)
    document["children"] = [snapshot_to_json(child) for child in node.children]
    return document


def snapshot_from_json(document: Json, layers: Mapping[str, Layer]) -> SnapshotNode:
    values = dict(document)
    values["created"] = parse_rfc3339(document["created"])
    values["config"] = config_from_json(document["config"], layers)
    values["children"] = [snapshot_from_json(child, layers) for child in document["children"]]
    return SnapshotNode(**values)


def copy_config(config: MachineConfig) -> MachineConfig:
    """A copy whose lists and disks are its own; the layers are shared."""
    layers = {layer.id: layer for disk in config.disks for layer in disk.layers}
    return config_from_json(config_to_json(config), layers)
