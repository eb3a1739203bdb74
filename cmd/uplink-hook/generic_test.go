package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// TestGenericHelp: for the person who writes the line, with every option in it.
func TestGenericHelp(t *testing.T) {
	for _, flag := range []string{"--help", "-h"} {
		out, err := exec.Command(program(t), "generic", flag).Output()
		if err != nil || !strings.Contains(string(out), "At most 16 arguments") {
			t.Errorf("%v\n%s", err, out)
		}
		for _, o := range hookwire.GenericOptions() {
			if !strings.Contains(string(out), "  "+o) {
				t.Errorf("no %s in the help", o)
			}
		}
		for line := range strings.Lines(string(out)) {
			if len(line) > len("\n")+80 {
				t.Errorf("too long for a terminal: %q", line)
			}
		}
	}
}

// TestGenericReachesTheDaemon, or is kept for it.
func TestGenericReachesTheDaemon(t *testing.T) {
	dir, d := shortDir(t), &daemon{}
	d.start(t, dir)
	call(t, program(t), nil, "--runtime-dir", dir, "generic", "--interface", "lo", "--address=192.0.2.9/24", "--gateway", "192.0.2.1")
	call(t, program(t), nil, "--runtime-dir", dir, "generic", "--source=lte", "--remove", "--interface=lo")
	if d.events["generic 1 bind 192.0.2.9"] != 1 || d.events["generic-lte 1 remove all invalid IP"] != 1 || len(d.got()) != 2 {
		t.Errorf("events %v", d.events)
	}
}

// TestGenericMistakes: the person at the terminal is told, the daemon is not, and whatever the mistake is the exit status is 0.
func TestGenericMistakes(t *testing.T) {
	dir := shortDir(t)
	for args, want := range map[string]string{
		"":                                       "generic: --interface must be there once; see uplink-hook generic --help",
		"wan0":                                   `generic: "wan0" is not an option`,
		"--interface wan0 --addr 192.0.2.9":      `generic: unknown option "--addr"`,
		"--interface wan0 --mtu":                 "generic: --mtu has no value",
		"--interface wan0 --mtu big":             `generic: --mtu "big": not a number`,
		"--interface wan0 --lifetime=1h":         `generic: --lifetime "1h": not a number`,
		"--interface wan0 --address 192.0.2/24":  `generic: --address "192.0.2/24": not an address`,
		"--interface wan0 --gateway 192.0.2.256": `generic: --gateway "192.0.2.256": not an address`,
		"--interface wan0 --delegated 2001:db8:": `generic: --delegated "2001:db8:": not a prefix`,
		"--interface wan0 --dns=\x1b[2J":         `generic: --dns "\x1b[2J": not an address`,
		"--interface wan0 --route=10.0.0.0/8":    `generic: --route "10.0.0.0/8": not in the form PREFIX,GATEWAY`,
		"--interface wan0 --route=10.0.0.0/8,x":  `generic: --route "10.0.0.0/8,x": not in the form PREFIX,GATEWAY`,
		"--help --interface wan0":                `generic: unknown option "--help"`,
		"--interface wan0" + strings.Repeat(" --dns 192.0.2.53", 8): "generic: 18 arguments, at most 16 are taken",
	} {
		words := append([]string{"generic"}, strings.Fields(args)...)
		var told bytes.Buffer
		h := hook{runtimeDir: dir, logSocket: "/nonexistent", talkLimit: talkLimit, terminal: &told}
		h.run(words)
		if !strings.HasPrefix(told.String(), "uplink-hook: "+want) || strings.Count(told.String(), "\n") != 1 || strings.ContainsRune(told.String(), 0x1b) {
			t.Errorf("%q: told %q, want %q", args, told.String(), want)
		}
		call(t, program(t), nil, append([]string{"--runtime-dir", dir}, words...)...) // not a terminal: prints nothing
	}
	if files := spoolFiles(t, dir); len(files) > 0 {
		t.Errorf("kept: %q", files)
	}
}

// TestOnlyGenericTellsAnybody: of any other client nothing is printed, terminal or not.
func TestOnlyGenericTellsAnybody(t *testing.T) {
	for _, args := range [][]string{{"nobody"}, {"--nonsense"}, {}, {"dhclient"}} {
		var told bytes.Buffer
		h := hook{runtimeDir: "/proc/nothing", logSocket: "/nonexistent", talkLimit: talkLimit, terminal: &told, environ: []string{"reason=BOUND"}}
		if h.run(args); told.Len() > 0 {
			t.Errorf("%q: told %q", args, told.String())
		}
	}
	var told bytes.Buffer
	h := hook{runtimeDir: "/proc/nothing", logSocket: "/nonexistent", talkLimit: talkLimit, terminal: &told}
	h.run([]string{"generic", "--interface=wan0", "--address=192.0.2.9"})
	if !strings.Contains(told.String(), `message of generic for "wan0" is lost`) {
		t.Errorf("told %q", told.String())
	}
}
