"""Settings as frozen pydantic models: unknown keys are errors, a choice of kinds is `kind: ...`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from modeledge.core.errors import RecipeError


class Config(BaseModel):
    """A frozen group of settings. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class PartConfig(Config):
    """The settings of a part that is chosen by `kind`: the name of its file in the room."""

    kind: str = ""


class Slot:
    """Marks a field that holds one part of a room, written as its kind or as a mapping with `kind` and its settings.

    norm: Annotated[PartConfig, Slot("layers.norms")] = part("layer")
    """

    def __init__(self, room: str):
        self.room = room

    def _validate(self, value: Any) -> PartConfig | None:
        from modeledge.core.find import find

        if isinstance(value, PartConfig) or value is None:
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, dict) or "kind" not in value:
            text = "expected a kind, or a mapping with a `kind`; found {value}"
            raise PydanticCustomError("part_kind", text, {"value": repr(value)})
        try:
            return find(self.room, value["kind"]).Config.model_validate(value)
        except RecipeError as error:
            raise PydanticCustomError("part_unknown", "{message}", {"message": str(error)}) from None
        except ValidationError as error:  # pydantic would fold the inner places away: keep them
            raise PydanticCustomError(
                "part_inner", "wrong settings", {"inner": error.errors(), "room": self.room, "part": value["kind"]}
            ) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        plain = core_schema.plain_serializer_function_ser_schema(lambda v: None if v is None else v.model_dump())
        return core_schema.no_info_plain_validator_function(self._validate, serialization=plain)


def part(kind: str, **settings: Any) -> Any:
    """The default of a slot: a part by its kind, with the settings that differ from its own defaults."""
    return {"kind": kind, **settings}
