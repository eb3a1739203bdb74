// Command demo shows what uplinkd is for: it builds an internet of three providers in network namespaces of its own, tells
// who can reach whom without uplinkd and with it, takes an uplink down and brings it back. It needs the built programs
// (-bin DIR) and nothing else, and no root where user namespaces are allowed.
//
// Its exit status is 1 if a promise does not hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// patience is what a promise gets; on an idle machine it takes a few hundredths of a second.
const patience = 5 * time.Second

// limit is how long the whole may take; it is far under that.
const limit = time.Minute

func main() {
	inside, code, err := testnet.Isolate() // before the flags: they may be those of a program to be started in a namespace
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v; as root: sudo make demo\n", err)
		os.Exit(1)
	}
	if inside {
		bin := flag.String("bin", "bin", "`directory` of uplinkd, uplinkctl and uplink-hook")
		flag.Parse()
		code = 0
		if err := run(os.Stdout, *bin, patience); err != nil {
			fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// run tells the story in a directory that is gone afterwards. A promise may take as long as patience to come true.
func run(w io.Writer, bin string, patience time.Duration) (err error) {
	bin, err = findPrograms(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "uplinkd-demo-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ctx, restore := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer restore()
	s := &story{w: w, bin: bin, dir: dir, patience: patience}
	defer s.close()
	return s.tell(ctx)
}

// findPrograms makes the directory's name absolute, and sees that all is built.
func findPrograms(bin string) (string, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return "", fmt.Errorf("find the programs: %w", err)
	}
	for _, name := range []string{"uplinkd", "uplinkctl", "uplink-hook"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("%w: run make build first", err)
		}
	}
	return bin, nil
}
