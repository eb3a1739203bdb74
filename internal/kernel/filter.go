package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// The places that the filter looks at: struct nlmsghdr, and behind it struct rtmsg.
const (
	offType     = 4
	offPort     = 12
	offFamily   = unix.SizeofNlMsghdr
	offDstLen   = unix.SizeofNlMsghdr + 1
	offTable    = unix.SizeofNlMsghdr + 4
	offProtocol = unix.SizeofNlMsghdr + 5
	offAttrs    = unix.SizeofNlMsghdr + unix.SizeofRtMsg
)

// skfNextAttr is the ancillary load that looks for a netlink attribute: A is where to start, X its type, and A becomes
// its offset or 0 (SKF_AD_OFF + SKF_AD_NLATTR in linux/filter.h).
const skfNextAttr = 0xfffff000 + 12

const (
	accept = 0xffffffff
	drop   = 0
)

// eventFilter is the classic BPF program of the event socket. A multicast datagram holds one message, so that nothing
// rides along with what is dropped. It drops:
//   - what our own requests caused (port is our request socket's), so that we cannot flood ourselves;
//   - routes that no snapshot holds: in main, local or default, neither a default route, nor ours, nor (in main)
//     without a next hop or to a single host and of no routing daemon. A daemon with a full table then costs nothing.
func eventFilter(port uint32, protocols []uint8) []unix.SockFilter {
	var p program
	p.load(unix.BPF_W, offPort)
	p.jumpIf(hostWord(port), "drop")
	p.load(unix.BPF_H, offType)
	p.jumpIf(hostHalf(unix.RTM_NEWROUTE), "route")
	p.jumpIf(hostHalf(unix.RTM_DELROUTE), "route")
	p.ret(accept)

	p.label("route")
	p.routes(protocols)
	p.label("accept")
	p.ret(accept)
	p.label("drop")
	p.ret(drop)
	return p.link()
}

// routes jumps to "accept" or "drop" for an event about a route.
func (p *program) routes(protocols []uint8) {
	p.load(unix.BPF_B, offDstLen)
	p.jumpIf(0, "accept")
	p.load(unix.BPF_B, offProtocol)
	for _, proto := range protocols {
		p.jumpIf(uint32(proto), "accept")
	}
	p.load(unix.BPF_B, offTable)
	p.jumpIf(rpdb.TableMain, "main")
	p.jumpIf(rpdb.TableLocal, "drop")
	p.jumpIf(rpdb.TableDefault, "drop")
	p.ret(accept)

	p.label("main")
	for _, attr := range []uint32{unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_MULTIPATH, rtaNextHopID} {
		p.add(unix.BPF_LD|unix.BPF_IMM, offAttrs)
		p.add(unix.BPF_LDX|unix.BPF_IMM, attr)
		p.load(unix.BPF_W, skfNextAttr)
		p.jumpUnless(0, "routed")
	}
	p.ret(accept)

	p.label("routed")
	p.load(unix.BPF_B, offDstLen)
	p.jumpIf(128, "host")
	p.jumpUnless(32, "drop")
	p.load(unix.BPF_B, offFamily)
	p.jumpUnless(unix.AF_INET, "drop")
	p.label("host")
	p.load(unix.BPF_B, offProtocol)
	for _, proto := range hostProtocols() {
		p.jumpIf(uint32(proto), "accept")
	}
	p.ret(drop)
}

// hostHalf and hostWord are a number in the host's byte order as a BPF load sees it, which reads network byte order.
func hostHalf(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}

func hostWord(v uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v))
}

// program assembles BPF with named jump targets, all of which lie further down.
type program struct {
	code   []unix.SockFilter
	jumps  []jump
	labels map[string]int
}

type jump struct {
	at     int
	unless bool
	to     string
}

func (p *program) add(code uint16, k uint32) {
	p.code = append(p.code, unix.SockFilter{Code: code, K: k})
}

func (p *program) load(size uint16, at uint32) { p.add(unix.BPF_LD|unix.BPF_ABS|size, at) }

func (p *program) ret(verdict uint32) { p.add(unix.BPF_RET|unix.BPF_K, verdict) }

func (p *program) jumpIf(v uint32, to string) {
	p.jumps = append(p.jumps, jump{at: len(p.code), to: to})
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, v)
}

func (p *program) jumpUnless(v uint32, to string) {
	p.jumps = append(p.jumps, jump{at: len(p.code), to: to, unless: true})
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, v)
}

func (p *program) label(name string) {
	if p.labels == nil {
		p.labels = make(map[string]int)
	}
	p.labels[name] = len(p.code)
}

// link fills in the distances of the jumps, which count from the instruction behind.
func (p *program) link() []unix.SockFilter {
	for _, j := range p.jumps {
		distance := uint8(p.labels[j.to] - j.at - 1)
		if j.unless {
			p.code[j.at].Jf = distance
		} else {
			p.code[j.at].Jt = distance
		}
	}
	return p.code
}
