// Command uplinkctl is the operator's tool: it asks the running uplinkd, and never needs root to read.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "devel"

// The exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error of a command that was called as it should be.
type failure struct{ error }

// Unwrap is the error itself.
func (f failure) Unwrap() error { return f.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "uplinkctl: %s\n", printableText(err.Error()))
	if _, ok := errors.AsType[failure](err); ok {
		os.Exit(exitFailed)
	}
	os.Exit(exitUsage)
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "uplinkctl",
		Short:         "Ask uplinkd what it does",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New(`a command is missing: status, explain, flush or version (see "uplinkctl --help")`)
		},
	}
	dir := root.PersistentFlags().String("runtime-dir", "/run/uplinkd", "the runtime directory of uplinkd")
	root.AddCommand(explainCommand(), statusCommand(dir), flushCommand(dir), versionCommand(dir))
	return root
}
