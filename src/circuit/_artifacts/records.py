"""JSON in one canonical form: sorted keys, plain values, no NaN that nobody meant.

A file is one object; under the key ``artifact`` it says what it is
(:mod:`circuit._artifacts.identity`), which whoever writes or reads it here never sees.

Equal content gives equal bytes, so files can be compared and digested. Python's JSON would
write ``NaN`` and ``Infinity``, which are not JSON, and would turn the key 1 into "1" unseen;
both are refused here, with the place inside the object.
"""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from circuit._artifacts.files import StrPath, missing, sha256_bytes, write_text
from circuit._artifacts.identity import KEY, claim, require
from circuit.errors import ArtifactError

NanRule = Literal["refuse", "null"]


def write_json(path: StrPath, obj: Mapping[str, Any], *, nan: NanRule = "refuse") -> None:
    """Write `obj` as canonical JSON: sorted keys, indent 2, a newline at the end.

    Args:
        path: the file to write, whole or not at all.
        obj: one mapping with text keys, of such mappings, lists, tuples, text, numbers, booleans
            and None; NumPy scalars and arrays (anything with ``tolist``) count as plain values.
        nan: what becomes of a number that is not finite: "refuse" raises, "null" writes null.

    Raises:
        ArtifactError: a value has no plain form; the message names its place in `obj`.
    """
    plain = _plain(obj, nan, str(path), "$")
    plain[KEY] = claim(path, digest_json(plain))
    text = json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: StrPath, keys: Collection[str] = ()) -> dict[str, Any]:
    """Read a JSON file of :func:`write_json` that has these keys.

    Raises:
        ArtifactError: the file is missing, is not UTF-8, is not whole, valid JSON, or is not what
            it says, or says something else than its name, or lacks a key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise missing(path) from error
    except (ValueError, OSError) as error:
        raise ArtifactError(
            f"file is not valid JSON ({error})",
            where=path,
            expected="one whole JSON document in UTF-8",
            do="delete the file and let snakemake make it again",
        ) from error
    content = content if isinstance(content, dict) else {}
    said = content.pop(KEY, None)
    require(path, said, digest_json(content))
    if lost := [key for key in keys if key not in content]:
        raise ArtifactError(
            f"file lacks {', '.join(lost)}",
            where=path,
            expected=f"an object with {', '.join(keys)}",
            do="delete the file and let snakemake make it again",
        )
    return content


def digest_json(obj: Any) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of `obj` in canonical, compact JSON.

    Mappings with the same items in another order, tuples and lists, and NumPy scalars and
    their plain values have the same digest; 1 and 1.0 do not.

    Raises:
        ArtifactError: a value has no plain form or is not finite.
    """
    plain = _plain(obj, "refuse", "digest_json", "$")
    return sha256_bytes(
        json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    )


def _plain(obj: Any, nan: NanRule, file: str, place: str) -> Any:
    """Return `obj` made of dict, list, str, int, float, bool and None only."""
    # Enumerations of text or numbers and np.float64 are subclasses, and written as their values.
    if obj is None or isinstance(obj, str | int):
        return obj
    if isinstance(obj, float):
        if math.isfinite(obj):
            return obj
        if nan == "null":
            return None
        raise ArtifactError(
            f"number is {obj}, which JSON cannot hold",
            where=f"{file}: {place}",
            expected="a finite number",
            do="repair the computation, or pass nan='null' where a missing number has a meaning",
        )
    if isinstance(obj, Mapping):
        for key in obj:
            if not isinstance(key, str):
                raise ArtifactError(
                    f"key {key!r} is of type {type(key).__name__}",
                    where=f"{file}: {place}",
                    expected="text keys, since JSON has no others",
                    do="turn the key into text where the mapping is made",
                )
        return {
            str.__str__(key): _plain(item, nan, file, f"{place}.{key}") for key, item in obj.items()
        }
    if isinstance(obj, list | tuple):
        return [_plain(item, nan, file, f"{place}[{index}]") for index, item in enumerate(obj)]
    if hasattr(obj, "tolist"):
        return _plain(obj.tolist(), nan, file, place)
    raise ArtifactError(
        f"value of type {type(obj).__name__} has no JSON form",
        where=f"{file}: {place}",
        expected="a mapping, list, text, number, boolean or None",
        do="convert the value where the object is made",
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
