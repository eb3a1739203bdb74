package hookserver

import (
	"errors"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The pace of an ordinary user's connections: no tunnel comes and goes so often. maxPaced bounds the users of whom it is
// remembered: somebody who has a range of ids (subuid(5)) can come as each of them.
const (
	connsAtOnce    = 20
	connsPerSecond = 10
	maxPaced       = 1024
)

// errHurried says that an ordinary user connects more often than the pace. It is not answered, for that is what it wants to
// make us busy with.
var errHurried = errors.New("an ordinary user connects too often")

// paces are those of the ordinary users, whether or not they are on the list.
type paces struct {
	mu     sync.Mutex
	users  map[uint32]*rate.Limiter
	others *rate.Limiter // of all that there is no room for
	told   rate.Sometimes
}

func newPaces() *paces {
	return &paces{users: make(map[uint32]*rate.Limiter), others: newPace(), told: rate.Sometimes{Interval: time.Minute}}
}

func newPace() *rate.Limiter { return rate.NewLimiter(connsPerSecond, connsAtOnce) }

// allow says whether a user's connection is within its pace.
func (p *paces) allow(uid uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.users[uid]; ok {
		return l.Allow()
	}
	if len(p.users) >= maxPaced {
		if !p.others.Allow() {
			return false
		}
		maps.DeleteFunc(p.users, func(_ uint32, l *rate.Limiter) bool { return l.Tokens() >= connsAtOnce })
		if len(p.users) >= maxPaced {
			return true
		}
	}
	l := newPace()
	p.users[uid] = l
	return l.Allow()
}
