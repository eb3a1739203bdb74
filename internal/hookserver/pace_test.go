package hookserver

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestHurriedUser: an ordinary user who connects over and over, on the list or not, is soon closed out without an answer and with
// one line in the log; root's hooks get through however many they are.
func TestHurriedUser(t *testing.T) {
	for name, a := range map[string]Access{"on the list": {Users: []uint32{stranger}}, "not on the list": {Users: []uint32{1}}} {
		t.Run(name, func(t *testing.T) {
			b := openBench(t, a)
			const calls = 300
			closed := 0
			begin := time.Now()
			as(t, stranger, strangerGroup, nil, func() {
				for i := range int64(calls) {
					switch got := b.say(tunnelUp(i, "10.8.0.2")); {
					case got == "ok", strings.HasPrefix(got, "user 64999 may not"):
					case strings.Contains(got, errHurried.Error()):
						t.Errorf("call %d is answered: %q", i, got)
						return
					default:
						closed++
					}
				}
			})
			most := connsAtOnce + connsPerSecond*int(time.Since(begin)/time.Second+1)
			if answered := calls - closed; answered < connsAtOnce || answered > most {
				t.Errorf("%d of %d are answered, want %d to %d", answered, calls, connsAtOnce, most)
			}
			if n := b.log.FilterMessage("closing connections of an ordinary user").FilterField(zap.Uint32("uid", stranger)).Len(); n != 1 {
				t.Errorf("%d lines say so", n)
			}
			for i := range int64(5 * connsAtOnce) {
				if got := b.say(tunnelUp(calls+i, "10.8.0.3")); got != "ok" {
					t.Fatalf("root's call %d: %q", i, got)
				}
			}
		})
	}
}

// TestPaces: each user has a pace of its own.
func TestPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaces()
		passed := func(uid uint32) (n int) {
			for range 1000 {
				if p.allow(uid) {
					n++
				}
			}
			return n
		}
		if a, b := passed(1), passed(2); a != connsAtOnce || b != connsAtOnce {
			t.Errorf("at once %d and %d", a, b)
		}
		<-time.After(time.Second) // of the bubble's clock
		if n := passed(1); n != connsPerSecond {
			t.Errorf("a second later %d", n)
		}
	})
}

// TestManyIDs: one who comes as ever another user gains nothing by it once the memory is full; those who are known keep their
// pace, and the others theirs when the flood is over.
func TestManyIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaces()
		passed := 0
		for uid := range uint32(10 * maxPaced) {
			if p.allow(uid) {
				passed++
			}
		}
		if len(p.users) != maxPaced || passed != maxPaced+connsAtOnce {
			t.Errorf("%d are remembered, %d passed", len(p.users), passed)
		}
		if !p.allow(1) {
			t.Error("one that is known is shut out")
		}
		<-time.After(time.Minute) // of the bubble's clock
		if !p.allow(9*maxPaced) || len(p.users) != 1 {
			t.Errorf("%d are remembered", len(p.users))
		}
	})
}
