package main

import (
	"strings"
	"testing"
)

func TestCounter(t *testing.T) {
	const start = `{"Action":"start","Package":"p"}` + "\n"
	const passes = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    noise\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
`
	const ends = `{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	tests := map[string]struct {
		in, out string
		good    bool
	}{
		"passes": {start + passes + ends, "ok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n", true},
		"go's own words, and a skip": {
			"go: downloading x\n" + start + passes + `{"Action":"output","Package":"p","Test":"TestB","Output":"no dhclient\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
` + ends,
			"go: downloading x\nno dhclient\nok  \tp\t0.1s\n1 passed, 0 failed, 1 skipped\n", true,
		},
		"subtests count, their parents do not": {
			start + `{"Action":"run","Package":"p","Test":"TestS"}
{"Action":"run","Package":"p","Test":"TestS/a"}
{"Action":"run","Package":"p","Test":"TestS/b"}
{"Action":"output","Package":"p","Test":"TestS/b","Output":"wrong\n"}
{"Action":"pass","Package":"p","Test":"TestS/a"}
{"Action":"fail","Package":"p","Test":"TestS/b"}
{"Action":"fail","Package":"p","Test":"TestS"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`, "wrong\nFAIL\tp\t0.1s\n1 passed, 1 failed, 0 skipped\n", false,
		},
		"a crash": {
			start + passes + `{"Action":"run","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Test":"TestC","Output":"panic\n"}
{"Action":"fail","Package":"p"}
`, "panic\n1 passed, 0 failed, 0 skipped\n", false,
		},
		"a package that does not build": {
			passes + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: syntax error\n"}
{"ImportPath":"q","Action":"build-fail"}
`, "q.go:1: syntax error\n1 passed, 0 failed, 0 skipped\n", false,
		},
		"no test": {ends, "ok  \tp\t0.1s\n0 passed, 0 failed, 0 skipped\n", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			c := newCounter(&out)
			if err := c.read(strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if good := c.close(); good != tt.good || out.String() != tt.out {
				t.Errorf("good %v, printed\n%s\nwant\n%s", good, out.String(), tt.out)
			}
		})
	}
}
