// Command uplinkd gives every uplink of a host its own routing table, and the rules that send an address's packets
// through it, from the moment a lease or a session brings the address until the moment it goes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/daemon"
	"github.com/uplinkd/uplinkd/internal/logging"
)

// version is set by the linker.
var version = "devel"

// The exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// options are the command line.
type options struct {
	config, runtimeDir, stateDir string
	logLevel, logFormat          string
	once, check, flush, version  bool
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the command: what it returns is its exit status.
func run(args []string, stdout io.Writer, stderr *os.File) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return exitUsage
	}
	if o.version {
		fmt.Fprintln(stdout, "uplinkd", version)
		return 0
	}
	log, err := logging.New(o.logLevel, o.logFormat, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "uplinkd: %v\n", err)
		return exitUsage
	}
	// Nothing of it runs on after this; SIGHUP is the daemon's own, and otherwise would end a check or a single look.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := start(ctx, o, stdout, log); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			fmt.Fprintf(stderr, "uplinkd: %s\n", line)
		}
		return exitFailed
	}
	return 0
}

// parse reads the command line; what is wrong with it has been said on stderr.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("uplinkd", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.config, "config", config.DefaultPath, "the configuration `file`; it may be missing")
	f.StringVar(&o.runtimeDir, "runtime-dir", "/run/uplinkd", "the `directory` of the sockets and the spool")
	f.StringVar(&o.stateDir, "state-dir", "/var/lib/uplinkd", "the `directory` of what must survive a restart")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "auto", "auto, console or json")
	f.BoolVar(&o.once, "once", false, "look at the kernel a single time, put it right, and exit")
	f.BoolVar(&o.check, "check", false, "check the configuration, and exit")
	f.BoolVar(&o.flush, "flush", false, "remove all that a daemon that is not running any more left in the kernel, and exit")
	f.BoolVar(&o.version, "version", false, "print the version, and exit")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "uplinkd: unexpected argument %q\n", f.Arg(0))
		f.Usage()
		return o, errors.New("usage")
	}
	return o, nil
}

// start does what the command line asks for.
func start(ctx context.Context, o options, stdout io.Writer, log *zap.Logger) error {
	cfg, err := config.Load(o.config)
	if err != nil {
		return err
	}
	if o.check {
		if err := daemon.Check(o.config, cfg); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: the configuration is good\n", o.config)
		return nil
	}
	d, err := daemon.New(daemon.Options{
		ConfigFile: o.config, RuntimeDir: o.runtimeDir, StateDir: o.stateDir, Version: version, Looping: !o.once && !o.flush,
	}, cfg, log)
	if err != nil {
		return err
	}
	defer d.Close()
	switch {
	case o.flush:
		return d.Flush(ctx)
	case o.once:
		return d.Once(ctx)
	}
	return d.Serve(ctx)
}
