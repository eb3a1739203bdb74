package state

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodLease = `{"index":3,"interface":"wan0","seq":1,"received":"2026-03-01T12:30:00Z","lease":{"source":"dhclient","address":"192.0.2.7","bits":24}}`

func TestDecodeDropsBadEntriesOnly(t *testing.T) {
	lease := func(old, to string) string { return strings.Replace(goodLease, old, to, 1) }
	tests := map[string]string{
		lease(`"index":3`, `"index":0`):                      "interface index 0",
		lease(`"index":3`, `"index":4294967296`):             "interface index 4294967296",
		lease(`"192.0.2.7"`, `"x"`):                          "ParseAddr",
		lease(`"192.0.2.7"`, `""`):                           `address "invalid IP"`,
		lease(`"192.0.2.7"`, `"fe80::1%wan0"`):               `address "fe80::1%wan0"`,
		lease(`"192.0.2.7"`, `"::ffff:192.0.2.7"`):           `address "::ffff:192.0.2.7"`,
		lease(`"bits":24`, `"bits":33`):                      "prefix length 33",
		lease(`"bits":24`, `"bits":-2`):                      "prefix length -2",
		lease(`"bits":24`, `"lifetime":-2`):                  "lifetime -2",
		lease(`"bits":24`, `"mtu":-1`):                       "MTU -1",
		lease(`"bits":24`, `"routers":[""]`):                 "in the lease",
		lease(`"bits":24`, `"classless":[{"dst":""}]`):       "in the lease",
		lease(`"dhclient"`, `""`):                            "no source",
		lease(`"dhclient"`, `"`+strings.Repeat("x", 65)+`"`): "source",
		lease(`"wan0"`, `"`+strings.Repeat("x", 65)+`"`):     "name",
		lease(`"wan0"`, `"\\q"`):                             "name",
		lease(`"2026-03-01T12:30:00Z"`, `"yesterday"`):       "parsing time",
		lease(`"bits":24`, `"classless":[{"dst":"0.0.0.0/0","gateway":"192.0.2.1"},{"dst":"192.0.2.1/24","gateway":"192.0.2.1"}]`): "route",
		`7`: "cannot unmarshal number",
	}
	for bad, why := range tests {
		doc := fmt.Sprintf(`{"version":1,"boot_id":"b","leases":[%s,%s,%s]}`, goodLease, bad, goodLease)
		s, dropped, err := decode([]byte(doc))
		if err != nil || len(s.Leases) != 2 {
			t.Errorf("%s: %d leases, error %v", bad, len(s.Leases), err)
		}
		if len(dropped) != 1 || !strings.HasPrefix(dropped[0], "lease 1: ") || !strings.Contains(dropped[0], why) {
			t.Errorf("%s: dropped %q, want %s", bad, dropped, why)
		}
	}
}

func TestDecodeTables(t *testing.T) {
	s, dropped, err := decode([]byte(`{"version":1,"tables":{
		"good":7000, "pinned":101, "main":254, "zero":0, "negative":-1, "huge":2147483648, "text":"x", "same":7000, "\\":7}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]uint32{"good": 7000, "pinned": 101}, s.Tables); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []string{
		`table of "\\": name "\\"`,
		`table of "huge": 2147483648 is no number for it`,
		`table of "main": 254 is no number for it`,
		`table of "negative": json: cannot unmarshal number -1 into Go value of type uint32`,
		`table of "same": 7000 is the table of "good"`,
		`table of "text": json: cannot unmarshal string into Go value of type uint32`,
		`table of "zero": 0 is no number for it`,
	}
	if diff := cmp.Diff(want, dropped); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
}

func TestDecodeBounds(t *testing.T) {
	held := make([]string, maxHeld+5)
	for i := range held {
		held[i] = `{"index":1,"address":"192.0.2.1","class":"x"}`
	}
	held[0] = `{"index":1,"address":"192.0.2.1","class":"` + strings.Repeat("x", 100) + `"}`
	s, dropped, err := decode([]byte(`{"version":1,"held":[` + strings.Join(held, ",") + `]}`))
	if err != nil || len(s.Held) != maxHeld-1 || len(dropped) != 2 {
		t.Errorf("%d held, dropped %q, error %v", len(s.Held), dropped, err)
	}
	s, dropped, err = decode([]byte(`{"version":1,"leases":[` + strings.Repeat("1,", 1000) + `1]}`))
	if err != nil || len(s.Leases) != 0 || len(dropped) != maxDropped {
		t.Errorf("%d complaints, error %v", len(dropped), err)
	}
}

// FuzzDecode: whatever the file holds, there is no panic, what is taken keeps the limits, and it survives being written
// and read again.
func FuzzDecode(f *testing.F) {
	whole, err := encode(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"version":1,"tables":{"a":7000},"leases":[` + goodLease + `,1],"held":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := decode(data)
		for name, table := range s.Tables {
			if !usableTable(table) || len(name) > maxName {
				t.Errorf("table %q %d", name, table)
			}
		}
		for _, l := range s.Leases {
			if l.Index < 1 || !l.Lease.Address.IsValid() || len(l.Lease.Routers) > maxList {
				t.Errorf("lease %+v", l)
			}
		}
		if err != nil {
			return
		}
		again, err := encode(s)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(again) {
			t.Fatalf("no JSON: %s", again)
		}
		second, dropped, err := decode(again)
		if err != nil || dropped != nil {
			t.Fatalf("dropped %q, error %v", dropped, err)
		}
		if diff := cmp.Diff(s, second, values()); diff != "" {
			t.Errorf("changed by writing and reading:\n%s", diff)
		}
	})
}
