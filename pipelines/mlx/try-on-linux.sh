#!/bin/sh
# try-on-linux.sh MLX_ENGINE MLX_SERVING [OPTION...]
#
# Run base.yaml with real clones of mlx-engine and mlx-serving on a Linux machine, where
# MLX computes on the CPU. Both are made for Apple silicon, so each gets what it lacks
# here: mlx-engine stand-ins for two modules that only some of its models need, mlx-serving
# one for a module that its repository lacks and a Python that says it runs on Darwin.
# Neither clone is changed; everything new is in the folder WORK (default
# `.try-mlx` here): two Python environments (700 MB), and a random Llama of 600 KB in the
# place of the model. The numbers say nothing about Macs; it shows that the suite works
# with both engines.
#
# Further options go to `prony run`, for example --set=schedule.cycles=8. Needs prony on the
# PATH, and python3 with venv and pip.
set -eu
die() { printf 'try-on-linux: %s\n' "$*" >&2; exit 1; }
say() { printf 'try-on-linux: %s\n' "$*" >&2; }

[ $# -ge 2 ] || die "usage: try-on-linux.sh MLX_ENGINE MLX_SERVING [OPTION...]"
engine=$(cd "$1" && pwd) || die "there is no folder $1"
serving=$(cd "$2" && pwd) || die "there is no folder $2"
shift 2
[ -f "$engine/mlx_engine/server/__main__.py" ] || die "$engine is no clone of mlx-engine with a server (mlx_engine/server)"
[ -f "$serving/python/runtime.py" ] || die "$serving is no clone of mlx-serving (python/runtime.py)"
command -v prony >/dev/null 2>&1 || die "prony is not on the PATH"
command -v python3 >/dev/null 2>&1 || die "python3 is missing: install it"
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${WORK:-.try-mlx}"
work=$(cd "${WORK:-.try-mlx}" && pwd)

# environment NAME PACKAGE...: a Python environment, once; NAME.deps lists what goes in
# without its own dependencies.
environment() {
    name=$1
    shift
    [ ! -f "$work/$name/made" ] || return 0
    say "installing $* into $work/$name"
    python3 -m venv "$work/$name"
    "$work/$name/bin/python" -m pip --disable-pip-version-check install --quiet "$@"
}

# mlx-engine: without torch and outlines, which it imports and does not need here, and with
# released packages in the place of commits of them.
environment engine 'mlx[cpu]==0.32.0' mlx-lm 'transformers==5.15.0' 'tokenizers==0.22.2' numpy pillow requests tqdm safetensors
if [ ! -f "$work/engine/made" ]; then
    if [ -f "$engine/requirements.txt" ]; then
        grep -viE '^(mlx|torch|outlines|git\+|-)|@ *git\+' "$engine/requirements.txt" >"$work/engine.txt" || true
        "$work/engine/bin/python" -m pip --disable-pip-version-check install --quiet -r "$work/engine.txt"
    fi
    "$work/engine/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps 'mlx-vlm==0.7.10'
    touch "$work/engine/made"
fi
mkdir -p "$work/for-engine/torch" "$work/for-engine/outlines"
printf 'def manual_seed(seed):\n    pass\n' >"$work/for-engine/torch/__init__.py"
: >"$work/for-engine/outlines/__init__.py"

# mlx-serving: its loader refuses other systems than Darwin on arm64.
environment serving 'mlx[cpu]' mlx-lm numpy pyyaml
touch "$work/serving/made"
mkdir -p "$work/for-serving"
cat >"$work/for-serving/model_tuning.py" <<'PYTHON'
class ModelTuningManager:
    def __init__(self, *_, **__):
        pass

    def get_model_tuning(self, *_, **__):
        return None


def get_tuning_manager(*_, **__):
    return ModelTuningManager()
PYTHON
cat >"$work/for-serving/sitecustomize.py" <<'PYTHON'
# After the packages that ask for the real system have been imported.
import platform
import mlx.core
import mlx_lm

platform.system = lambda: "Darwin"
platform.machine = lambda: "arm64"
PYTHON

# python NAME: a command that runs an environment's Python with its stand-ins.
python() {
    cat >"$work/python-$1" <<SHELL
#!/bin/sh
# MLX_DISABLE_COMPILE: or the first request waits for a C++ compiler.
export MLX_DISABLE_COMPILE=1 PYTHONPATH="$work/for-$1\${PYTHONPATH:+:\$PYTHONPATH}"
exec "$work/$1/bin/python" "\$@"
SHELL
    chmod +x "$work/python-$1"
}
python engine
python serving

model=$work/models/mlx-community/Qwen2.5-0.5B-Instruct-4bit
if [ ! -f "$model/tokenizer_config.json" ]; then
    say "making a random model in $model"
    "$work/engine/bin/python" "$here/tiny-llama.py" "$model"
fi

say "running base.yaml"
exec prony run "$here/base.yaml" \
    --var "mlx_engine=$engine" --var "mlx_engine_python=$work/python-engine" \
    --var "mlx_serving=$serving" --var "mlx_serving_python=$work/python-serving" \
    --models "$work/models" "$@"
