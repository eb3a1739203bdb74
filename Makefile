# The targets: build, test, race, lint, demo, fuzz-smoke, clean. Only lint, race and .ci/run need more than Go and make.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL    := $(GO) tool -modfile=internal/tools/go.mod
HOOKS   := $(shell find hooks -type f ! -name '*.md')

.PHONY: all build test race lint demo fuzz-smoke clean
all: build

# No C compiler is needed or used: what is built runs on every distribution.
build: export CGO_ENABLED = 0
build:
	@mkdir -p bin
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

# It lists what was skipped and why, and closes with the counts. The race detector wants a C compiler: see race.
test: export CGO_ENABLED = 0
test:
	@$(GO) test -json $(TESTFLAGS) ./... | (cd internal/tools && $(GO) run ./testcount)

race: export CGO_ENABLED = 1
race:
	$(GO) test -race $(TESTFLAGS) ./...

lint:
	@unformatted=$$(gofmt -l cmd internal); [ -z "$$unformatted" ] || { echo "gofmt these: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(TOOL) golangci-lint run
	shellcheck .ci/run
	[ -z "$(HOOKS)" ] || shellcheck --shell=sh $(HOOKS)

# Needs no root where user namespaces are allowed, and says "sudo make demo" where they are not.
demo: export CGO_ENABLED = 0
demo: build
	@$(GO) run ./internal/lab/demo -bin bin

# A few seconds for every fuzz target: go test takes one target of one package at a time.
FUZZTIME ?= 5s
fuzz-smoke: export CGO_ENABLED = 0
fuzz-smoke:
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
		for target in $$(cat "$$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$dir"; \
		done; \
	done

clean:
	rm -rf bin
