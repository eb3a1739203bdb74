package testnet

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// EnvNoSkip turns every skip into a failure when it is set to 1: where all clients are installed, a skip hides a fault.
const EnvNoSkip = "UPLINKD_TEST_NO_SKIP"

// poll is the pause between two looks of Eventually: well under the shortest promise that tests check (100 ms).
const poll = 5 * time.Millisecond

// New makes a namespace that is closed when the test ends.
func New(t testing.TB) *NS {
	t.Helper()
	n, err := Open(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// Do calls f in the namespace; f may end the test.
func (n *NS) Do(t testing.TB, f func()) {
	t.Helper()
	if err := n.Run(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// Must ends the test on the first error.
func Must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Eventually waits until cond returns nil, and ends the test with its last error when that takes longer than deadline.
// It is the one way to wait in tests.
func Eventually(t testing.TB, deadline time.Duration, cond func() error) {
	t.Helper()
	if err := Wait(deadline, cond); err != nil {
		t.Fatalf("not within %v: %v", deadline, err)
	}
}

// Wait is Eventually without a test: it returns cond's last error when deadline has passed.
func Wait(deadline time.Duration, cond func() error) error {
	for end := time.Now().Add(deadline); ; time.Sleep(poll) {
		err := cond()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// Skip skips the test, or ends it where EnvNoSkip says that nothing may be skipped.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(EnvNoSkip) == "1" {
		t.Fatalf("%s=1 and: %s", EnvNoSkip, reason)
	}
	t.Skip(reason)
}

// Need gives the path of a program; where it is not installed, the test is skipped.
func Need(t testing.TB, program string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Skip(t, program+" is not installed")
	return ""
}
