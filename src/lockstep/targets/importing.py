"""Importing what the user names, with their own exception and line when it fails."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from lockstep.errors import UsageError
from lockstep.suggest import closest_first
from lockstep.targets.blame import describe


def missing_file(path: Path) -> str:
    """The message for a file that is not there, with its nearest neighbours."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no file {str(path)!r}: the folder {str(folder)!r} does not exist"
    near = [item.name for item in folder.iterdir() if item.suffix == path.suffix]
    others = f"; {str(folder)!r} holds {closest_first(path.name, near)}" if near else ""
    return f"there is no file {str(path)!r}{others}. Paths start from {str(Path.cwd())!r}."


def import_file(path: Path) -> ModuleType:
    """Run a file as a module of a name of its own, as `python file.py` finds its neighbours."""
    if not path.is_file():
        raise UsageError(missing_file(path))
    # The name is stable, for pickles and dataclasses of the user's, and shadows no other module.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"lockstep_target_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py suffix always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise UsageError(_import_failure(str(path), error)) from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def import_module(name: str, text: str, forms: str) -> ModuleType:
    """Import a module by name, from the environment or the working folder."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Missing is either what was asked for, or something that it imports itself.
        asked = error.name is not None and (name == error.name or name.startswith(error.name + "."))
        if asked:
            raise UsageError(
                f"{text!r}: there is no module {error.name!r} in this environment or in "
                f"{str(Path.cwd())!r}. A TARGET is {forms}."
            ) from error
        raise UsageError(_import_failure(name, error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UsageError(_import_failure(name, error)) from error
    finally:
        sys.path.remove(str(Path.cwd()))


def _import_failure(source: str, error: BaseException) -> str:
    cure = "Run the file by itself to see the whole traceback."
    if isinstance(error, ModuleNotFoundError):
        cure = f"Install {error.name!r} in the environment in which lockstep runs."
    if isinstance(error, SystemExit):
        cure = 'It exits when it is imported: put that part under `if __name__ == "__main__":`.'
    return f"{source} cannot be imported. It raised\n  {describe(error)}\n{cure}"
