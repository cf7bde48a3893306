"""dvc.yaml against the code: every stage depends on what it imports, and the core stays bare."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STAGES = {
    stage: entry
    for file in ("dvc.yaml", "data/dvc.yaml")
    for stage, entry in yaml.safe_load((ROOT / file).read_text())["stages"].items()
}
CORE = {
    "torch",
    "transformers",
    "peft",
    "numpy",
    "pyarrow",
    "safetensors",
    "pydantic",
    "sklearn",
    "matplotlib",
    "yaml",
    "gguf",
}
STANDARD = __import__("sys").stdlib_module_names


def module_file(name):
    path = ROOT / Path(*name.split("."))
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def imports(file):
    """Names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if name.startswith("dti.") and module_file(name).is_file())


def reach(module):
    """The project's files that a module loads, and the foreign packages."""
    files, packages = set(), set()
    queue = [module]
    while queue:
        name = queue.pop()
        if not name.startswith("dti"):
            packages.add(name.split(".")[0])
            continue
        file = module_file(name)
        if file not in files and file.is_file():
            files |= {file, file.parent / "__init__.py"}
            queue += imports(file)
    bare = {ROOT / "dti/__init__.py", ROOT / "dti/stages/__init__.py"}
    return {file.relative_to(ROOT).as_posix() for file in files - bare}, packages - STANDARD


def code_deps(entry):
    return [dep for dep in entry.get("do", entry)["deps"] if dep.startswith("dti/")]


def covers(dep, file):
    return file == dep or file.startswith(f"{dep}/")


def test_all_stages_are_there():
    assert list(STAGES) == ["prepare", "pack", "train", "evaluate", "report", "track", "fetch", "table"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_code_that_it_imports(stage):
    files, _ = reach(f"dti.stages.{stage}")
    deps = code_deps(STAGES[stage])
    assert {file for file in files if not any(covers(dep, file) for dep in deps)} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_other_code(stage):
    files, _ = reach(f"dti.stages.{stage}")
    assert {dep for dep in code_deps(STAGES[stage]) if not any(covers(dep, file) for file in files)} == set()


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_bare_gpu_machine_can_run(stage):
    _, packages = reach(f"dti.stages.{stage}")
    assert packages <= CORE | {"tokenizers"}


def test_data_knows_nothing_of_torch():
    _, packages = reach("dti.stages.prepare")
    assert not packages & {"torch", "transformers", "peft", "mlflow", "dvc", "prefect"}


def test_arrows_run_one_way():
    """Rooms in the order of the pipeline: each may import itself and those before it, as far as it is allowed to."""
    allowed = {
        "data": set(),
        "prompts": set(),
        "attention": {"prompts"},
        "model": {"attention", "prompts"},
        "training": {"attention", "model", "prompts"},
        "evaluation": {"model", "prompts"},
        "serving": {"attention", "model", "prompts"},
        "registry": {"evaluation", "serving"},
        "sweep": {"evaluation"},
        "report": {"evaluation", "prompts", "registry"},
    }
    for room, others in allowed.items():
        for file in (ROOT / "dti" / room).glob("*.py"):
            for name in imports(file):
                parts = name.split(".")
                if parts[0] == "dti" and len(parts) > 1 and parts[1] in allowed:
                    assert parts[1] in others | {room}, f"{file}: {name}"


def test_a_served_version_needs_the_core_alone():
    _, packages = reach("dti.serving.model")
    assert packages <= CORE | {"tokenizers", "mlflow"}
