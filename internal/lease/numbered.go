package lease

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// value is one of several variables whose keys differ in numbers.
type value struct {
	key, value string
	numbers    []int
}

// numbered gives the variables whose keys fit a pattern, in which each # stands for a number, in the order of the numbers.
// They need not be without gaps: an association whose addresses were refused has none.
func (in Input) numbered(pattern string) []value {
	var vs []value
	for k, v := range in.Env {
		if ns, ok := numbers(pattern, k); ok {
			vs = append(vs, value{k, v, ns})
		}
	}
	slices.SortFunc(vs, func(a, b value) int {
		return cmp.Or(slices.Compare(a.numbers, b.numbers), cmp.Compare(a.key, b.key))
	})
	return vs
}

// refusedLike says whether a key that fits one of the patterns was there, but over a limit.
func (in Input) refusedLike(patterns ...string) bool {
	return slices.ContainsFunc(in.Refused, func(key string) bool {
		return key == "*" || slices.ContainsFunc(patterns, func(p string) bool {
			_, ok := numbers(p, key)
			return ok
		})
	})
}

// numbers are what stands in a key where its pattern has #; ok is false where the key does not fit.
func numbers(pattern, key string) (ns []int, ok bool) {
	for {
		before, after, more := strings.Cut(pattern, "#")
		rest, fits := strings.CutPrefix(key, before)
		if !more || !fits {
			return ns, fits && rest == ""
		}
		key = strings.TrimLeft(rest, "0123456789")
		n, err := strconv.Atoi(rest[:len(rest)-len(key)])
		if err != nil {
			return nil, false
		}
		ns, pattern = append(ns, n), after
	}
}
