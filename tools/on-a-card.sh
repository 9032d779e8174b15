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

# What was brought takes the place of what is missing, and of nothing else.
if [ -f "$packed/packed.json" ]; then
  mkdir -p build/Release build/cmake runs
  if [ ! -d node_modules ]; then xz -dc "$packed/node_modules.tar.xz" | tar -xf -; fi
  if [ ! -f build/Release/anymal.node ]; then cp "$packed/anymal.node" build/Release/; fi
  if [ -f "$packed/backend_ops" ] && [ ! -f build/cmake/backend_ops ]; then
    cp "$packed/backend_ops" build/cmake/
    chmod +x build/cmake/backend_ops
  fi
  if [ -f "$packed/libanymal_cuda.so.xz" ] && [ ! -f build/Release/libanymal_cuda.so ]; then
    xz -dc "$packed/libanymal_cuda.so.xz" >build/Release/libanymal_cuda.so
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
    xz -dc "$packed/node.xz" >"$node.part"
    chmod +x "$node.part"
    mv "$node.part" "$node"
  fi
fi
exec "$node" --import tsx tools/on-a-card/main.ts "$@"
