package main

import (
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// BenchmarkHook is what a client waits for: the program from its start to its exit, with a daemon that answers at once, less
// what the start of any program costs. The two take turns, so that the machine's moods are both's. "over-true-ms" is to be at
// most 4.
func BenchmarkHook(b *testing.B) {
	bin, dir := build(b), shortDir(b)
	answerAtOnce(b, dir)
	var hook, plain time.Duration
	run := func(sum *time.Duration, name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env = bound("2001:db8::1")
		start := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		*sum += time.Since(start)
	}
	for b.Loop() {
		run(&hook, bin, "--runtime-dir", dir, "dhclient")
		run(&plain, "/bin/true")
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) / float64(b.N) }
	b.ReportMetric(ms(hook), "hook-ms")
	b.ReportMetric(ms(plain), "true-ms")
	b.ReportMetric(ms(hook-plain), "over-true-ms")
	if l := spoolFiles(b, dir); len(l) > 0 {
		b.Errorf("%d messages found no daemon", len(l))
	}
}

// answerAtOnce is a daemon that takes messages and does nothing with them.
func answerAtOnce(b *testing.B, dir string) {
	listen(b, dir, func(c net.Conn) {
		defer c.Close()
		if _, err := hookwire.Read(c); err == nil {
			_, _ = c.Write(hookwire.Reply{OK: true}.Encode())
			_, _ = io.Copy(io.Discard, c)
		}
	})
}
