"""What every section of a job file has in common."""

from __future__ import annotations

from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Base of every section: unknown keys are errors, types are not coerced, values cannot change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _sections_may_be_left_empty(cls, value: Any) -> Any:
        """`train:` with nothing under it is YAML's null: read it as 'all defaults'."""
        if isinstance(value, dict):
            return {key: {} if item is None and cls._is_section(key) else item for key, item in value.items()}
        return value

    @classmethod
    def _is_section(cls, key: Any) -> bool:
        field = cls.model_fields.get(key)
        kind = None if field is None else get_origin(field.annotation) or field.annotation
        return isinstance(kind, type) and issubclass(kind, (Section, dict))
