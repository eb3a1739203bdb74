package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/uplinkd/uplinkd/internal/uplink"
)

// The pace of the log. A link can flap a hundred times a second; the kernel's state follows at the looks' own pace, and the log
// at this one. What an uplink has come to is said in the end, and how many changes were not.
const (
	changeBack = 5 * time.Second // one line about an uplink in this time, in the long run
	changeRush = 6               // and so many at once before that
	newsBack   = time.Second / 10
	newsRush   = 256         // all uplinks together: the names of links can flap, too
	quiet      = time.Minute // a problem that comes and goes is logged once in this time
)

// news is what was said of the uplinks, by their names.
type news struct {
	of  map[string]*voice
	all *rate.Limiter
}

// voice is what was said of one uplink.
type voice struct {
	pace   *rate.Limiter
	said   string // the summary that was logged last; empty: that it is gone, or nothing
	now    string // that of the last look; empty: it is gone
	unsaid int    // changes since something was said
	last   uplink.Uplink
}

func newNews() news {
	return news{of: make(map[string]*voice), all: rate.NewLimiter(rate.Every(newsBack), newsRush)}
}

// hear takes what a look found, and gives the names of all uplinks that there is or was something to say about: those that are
// there in their order, then the others.
func (n *news) hear(us []uplink.Uplink) []string {
	var names []string
	for _, u := range us {
		if n.of[u.Name] == nil {
			n.of[u.Name] = &voice{pace: rate.NewLimiter(rate.Every(changeBack), changeRush)}
		}
		n.of[u.Name].change(summary(u))
		n.of[u.Name].last = u
		names = append(names, u.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(n.of)) {
		if !slices.Contains(names, name) {
			n.of[name].change("")
			names = append(names, name)
		}
	}
	return names
}

func (v *voice) change(to string) {
	if v.now != to {
		v.now = to
		v.unsaid++
	}
}

// over says that there is nothing to remember: the uplink is gone, nobody heard of what is unsaid, and it has not changed for
// so long that it may change again as often as a new one.
func (v *voice) over() bool {
	return v.now == "" && v.said == "" && v.pace.Tokens() >= changeRush
}

// suppressed is how many changes the next line leaves out.
func (v *voice) suppressed() int {
	if v.now == v.said {
		return v.unsaid
	}
	return v.unsaid - 1
}

// reportUplinks logs what became of each uplink, as far as the pace lets it; what it does not is said in the end.
func (a *Agent) reportUplinks(now []uplink.Uplink) {
	if text := census(now); a.stats.Looks == 0 || text != census(a.view.Uplinks) {
		a.announce(text)
	}
	for _, name := range a.news.hear(now) {
		v := a.news.of[name]
		switch {
		case v.over():
			delete(a.news.of, name)
		case v.unsaid == 0 || v.now == "" && v.said == "":
		case v.pace.Tokens() < 1:
			a.pace.at(max(time.Duration((1-v.pace.Tokens())*float64(changeBack)), gather))
		case !a.news.all.Allow():
			a.pace.at(newsBack)
		default:
			v.pace.Allow()
			a.sayUplink(v)
		}
	}
}

func (a *Agent) sayUplink(v *voice) {
	u := v.last
	fields := []zap.Field{uplinkField(u), linkField(u.Link.Name), zap.Uint32("table", u.Table)}
	message := "uplink gone"
	if v.now != "" {
		message = "uplink " + string(u.State)
		fields = append(fields, addressesField(u), gatewaysField(u), delegatedField(u), routesField(u))
	}
	if n := v.suppressed(); n > 0 {
		fields = append(fields, zap.String("flapping", fmt.Sprintf("%d changes suppressed", n)))
	}
	a.log.Info(message, fields...)
	v.said, v.unsaid = v.now, 0
}

// justTold says whether a text was logged within the last minute.
func (a *Agent) justTold(text string) bool {
	at, told := a.told[text]
	return told && time.Since(at) < quiet
}

// tell takes a text as logged now, and forgets what was a while ago.
func (a *Agent) tell(text string) {
	maps.DeleteFunc(a.told, func(_ string, at time.Time) bool { return time.Since(at) >= quiet })
	a.told[text] = time.Now()
}
