package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/control"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"uplinkctl": main})
}

// TestScripts runs the real main against a control server whose status is a file of the script. With
// UPLINKD_UPDATE_GOLDEN=1 the expected outputs are written anew.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("UPLINKD_UPDATE_GOLDEN") != "",
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"daemon": startDaemon, "exitcode": exitCode},
	})
}

// fakeDaemon answers with the status of a file; a flush suspends it, or fails where a file says how.
type fakeDaemon struct {
	status control.Status
	refuse error
}

func (d *fakeDaemon) Status(context.Context) (control.Status, error) { return d.status, nil }

func (d *fakeDaemon) Flush(context.Context) error {
	if d.refuse == nil {
		d.status.Suspended, d.status.Uplinks = true, nil
	}
	return d.refuse
}

// startDaemon is the script command "daemon STATUS.json [FLUSH-ERROR]": it serves in $WORK/run until the script ends.
func startDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: daemon STATUS.json [FLUSH-ERROR]")
	}
	d := &fakeDaemon{}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &d.status))
	if len(args) > 1 {
		d.refuse = errors.New(args[1])
	}
	dir := ts.MkAbs("run")
	ts.Check(os.MkdirAll(dir, 0o700))
	s := control.NewServer(dir, d, zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		ts.Check(<-ended)
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- err
		ts.Fatalf("the server ended: %v", err)
	}
}

// exitCode is the script command "exitcode N ARG...": it runs uplinkctl and wants that exit status.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exitcode N ARG...")
	}
	got := "exit status 0"
	if err := ts.Exec("uplinkctl", args[1:]...); err != nil {
		got = err.Error()
	}
	if got != "exit status "+args[0] {
		ts.Fatalf("%s, want %s", got, args[0])
	}
}
