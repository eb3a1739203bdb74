package hookwire

import "encoding/binary"

// decoder takes values off the front of a body. After the first thing that is not there it is bad, and everything that
// it gives is zero.
type decoder struct {
	rest []byte
	bad  bool
}

// take gives the next n bytes; n zero bytes where there are fewer.
func (d *decoder) take(n int) []byte {
	if d.bad || len(d.rest) < n {
		d.bad, d.rest = true, nil
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint16() int    { return int(binary.BigEndian.Uint16(d.take(2))) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }

func (d *decoder) string() string {
	n := d.uint16()
	if d.bad || n > len(d.rest) {
		d.bad = true
		return ""
	}
	return string(d.take(n))
}

// list makes no room ahead of the strings themselves: a count is only a claim.
func (d *decoder) list() []string {
	var l []string
	for n := d.uint16(); n > 0 && !d.bad; n-- {
		l = append(l, d.string())
	}
	return l
}

// env refuses keys that are not in strictly ascending order, so that a message has one encoding only.
func (d *decoder) env() map[string]string {
	m := make(map[string]string)
	last := ""
	for n := d.uint16(); n > 0 && !d.bad; n-- {
		k, v := d.string(), d.string()
		if k <= last {
			d.bad = true
		}
		m[k], last = v, k
	}
	return m
}
