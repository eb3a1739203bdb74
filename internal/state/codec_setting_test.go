package state

import (
	"fmt"
	"strings"
	"testing"
)

func TestDecodeSettings(t *testing.T) {
	const good = `{"index":3,"interface":"wan0","mac":"02:00:5e:10:00:01","name":"rp_filter","value":2,"was":1}`
	change := func(old, to string) string { return strings.Replace(good, old, to, 1) }
	for bad, why := range map[string]string{
		change(`"index":3`, `"index":0`):                               "interface index 0",
		change(`"wan0"`, `"\\q"`):                                      "name",
		change(`"02:00:5e:10:00:01"`, `"`+strings.Repeat("x", 65)+`"`): "MAC",
		change(`"rp_filter"`, `"`+strings.Repeat("x", 65)+`"`):         "name",
		change(`"value":2`, `"value":"2"`):                             "cannot unmarshal string",
		change(`"was":1`, `"was":1.5`):                                 "cannot unmarshal number",
		`[]`:                                                           "cannot unmarshal array",
	} {
		s, dropped, err := decode([]byte(fmt.Sprintf(`{"version":1,"boot_id":"b","settings":[%s,%s,%s]}`, good, bad, good)))
		if err != nil || len(s.Settings) != 2 || s.Settings[1] != (Setting{3, "wan0", "02:00:5e:10:00:01", "rp_filter", 2, 1}) {
			t.Errorf("%s: %+v, error %v", bad, s.Settings, err)
		}
		if len(dropped) != 1 || !strings.HasPrefix(dropped[0], "setting 1: ") || !strings.Contains(dropped[0], why) {
			t.Errorf("%s: dropped %q, want %s", bad, dropped, why)
		}
	}
}
