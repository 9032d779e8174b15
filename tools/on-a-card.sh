#!/bin/sh
# Everything that is worth knowing of a card, on a machine that is lent for minutes: nvcc of CUDA 13, CMake and a compiler, PyTorch for the benches,
# no package registry.
#   where the packages are:   tools/on-a-card.sh --pack build/card            Node, packages, addon: at most 64 MiB to carry beside the checkout
#   where the card is:        tools/on-a-card.sh --minutes 8                  builds what was not brought, checks, trains, measures; start it again to go on
# Results are written as they come, to $OUT (if set) and to runs/on-a-card. The course itself: tools/on-a-card/stages.ts.
set -e
cd "$(dirname "$0")/.."

packed=build/card
previous=
for argument in "$@"; do
  if [ "$previous" = --packed ]; then packed=$argument; fi
  case $argument in --packed=*) packed=${argument#--packed=} ;; esac
  previous=$argument
done

# The machine with the card has Python, and perhaps no xz.
unpack() {
  if command -v xz >/dev/null; then xz -dc "$1"; else python3 -c 'import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"; fi
}

# What was brought takes the place of what is missing, and of nothing else; each file under its name only when it is whole.
unpack_to() {
  unpack "$1" >"$2.part"
  chmod +x "$2.part"
  mv "$2.part" "$2"
}
if [ -f "$packed/packed.json" ]; then
  mkdir -p build/Release build/cmake runs
  if [ ! -d node_modules ]; then
    rm -rf build/unpacking && mkdir build/unpacking
    unpack "$packed/node_modules.tar.xz" | tar -xf - -C build/unpacking
    mv build/unpacking/node_modules .
  fi
  if [ ! -f build/Release/anymal.node ]; then unpack_to "$packed/anymal.node.xz" build/Release/anymal.node; fi
  if [ -f "$packed/backend_ops.xz" ] && [ ! -f build/cmake/backend_ops ]; then unpack_to "$packed/backend_ops.xz" build/cmake/backend_ops; fi
  if [ -f "$packed/libanymal_cuda.so.xz" ] && [ ! -f build/Release/libanymal_cuda.so ]; then
    unpack_to "$packed/libanymal_cuda.so.xz" build/Release/libanymal_cuda.so
    cp "$packed/libanymal_cuda.so.sources" build/Release/
  fi
fi
PATH="$PATH:/usr/local/cuda/bin"
export PATH
node=node
if ! node --version 2>/dev/null | grep -Eq '^v(2[0-9]|[3-9][0-9])\.'; then
  node=build/on-a-card-node
  if [ ! -x "$node" ]; then
    if [ ! -f "$packed/node.xz" ]; then
      echo "Node 20.17 or newer was not found, nor was one brought: tools/on-a-card.sh --pack makes what to carry" >&2
      exit 1
    fi
    mkdir -p build
    unpack_to "$packed/node.xz" "$node"
  fi
fi
exec "$node" --import tsx tools/on-a-card/main.ts "$@"
