package dhcpcd

import (
	"context"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// The pace at which the messages of one dhcpcd are taken off its stream; those of a router with many links and addresses come
// at once when it starts. A dhcpcd that says more waits: none of its words is lost.
const (
	messagesAtOnce    = 200
	messagesPerSecond = 50
)

// batch is messages of one instance that came together.
type batch struct {
	w        *Watcher
	instance string
	at       hookwire.Stamp // when they were said, or not long before
	link     func(name string) (index int)
	pace     *rate.Limiter // nil: at once
}

// take hands on one message.
func (b *batch) take(ctx context.Context, environ []string) {
	m, err := hookwire.Collect(client, nil, environ)
	if err != nil {
		b.w.cfg.Intake.Warn("cannot read a message of dhcpcd's", zap.Error(err))
		return
	}
	if m.Idle() || !speaksOf(b.instance, m.Interface) {
		return
	}
	evs, err := lease.Parse(lease.Input{
		Client: client, Env: m.Env, Refused: m.Refused, Interface: m.Interface, Index: b.link(m.Interface),
	})
	if err != nil {
		b.w.cfg.Intake.Warn("cannot read a message of dhcpcd's", zap.Error(err))
		return
	}
	evs = slices.DeleteFunc(evs, func(ev lease.Event) bool { return !speaksFor(b.instance, m.Interface, ev.Source) })
	// Nobody waits for the outcome: what the kernel refuses is in the status.
	b.w.cfg.Intake.Take(ctx, evs, b.at)
}

// speaksOf says whether an instance may speak of a link: one that was started for a link speaks of no other.
func speaksOf(instance, link string) bool {
	return instance == "" || instance == link || instance == link+"-4" || instance == link+"-6"
}

// speaksFor says whether an instance may speak of a source's leases. One that was started for one family of a link (-4, -6)
// says "stopped" as the one for both does; the leases of the other family are another dhcpcd's.
func speaksFor(instance, link string, source lease.Source) bool {
	switch instance {
	case link + "-4":
		return source == lease.SourceDhcpcd
	case link + "-6":
		return source != lease.SourceDhcpcd
	}
	return speaksOf(instance, link)
}
