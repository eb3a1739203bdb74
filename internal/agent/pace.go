package agent

import "time"

// pace says when to look next: at once after a quiet time, and after that at most once per gather.
type pace struct {
	last    time.Time // when the last look began
	due     time.Time // when the next one is
	backoff time.Duration
	again   time.Time // when what failed is to be tried again
}

// now wants a look without waiting.
func (p *pace) now() { p.due = time.Now() }

// soon wants a look, together with whatever else happens close to the last one.
func (p *pace) soon() {
	at := time.Now()
	if earliest := p.last.Add(gather); at.Before(earliest) {
		at = earliest
	}
	if at.Before(p.due) {
		p.due = at
	}
}

// begin says that a look begins. Whatever comes is for the next one.
func (p *pace) begin() {
	p.last = time.Now()
	p.due = p.last.Add(resync)
}

// at wants a look after some time.
func (p *pace) at(after time.Duration) {
	if t := time.Now().Add(after); t.Before(p.due) {
		p.due = t
	}
}

// retry wants a look after a failure, each time later. A look that something else was the cause of puts nothing off.
func (p *pace) retry() {
	if now := time.Now(); !now.Before(p.again) {
		p.backoff = min(max(2*p.backoff, retryMin), retryMax)
		p.again = now.Add(p.backoff)
	}
	p.at(time.Until(p.again))
}

func (p *pace) succeeded() { p.backoff, p.again = 0, time.Time{} }

// wait is how long it is until the next look.
func (p *pace) wait() time.Duration { return max(time.Until(p.due), 0) }
