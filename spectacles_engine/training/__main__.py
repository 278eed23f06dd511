"""``python -m spectacles_engine.training``: the commands of ``commands.py``, or which packages they lack."""

try:
    from spectacles_engine.training.commands import main
except ModuleNotFoundError as error:
    raise SystemExit(f"training needs the package {error.name}: pip install '.[cpu,train]'") from None

if __name__ == "__main__":
    main()
