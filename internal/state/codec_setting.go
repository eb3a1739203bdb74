package state

import (
	"cmp"
	"encoding/json"
	"net/netip"
)

type setting struct {
	Index     int    `json:"index"`
	Interface string `json:"interface"`
	MAC       string `json:"mac,omitzero"`
	Name      string `json:"name"`
	Value     int    `json:"value"`
	Was       int    `json:"was"`
}

func decodeSetting(data []byte) (Setting, error) {
	var in setting
	if err := json.Unmarshal(data, &in); err != nil {
		return Setting{}, err
	}
	name, err := unescape(in.Interface)
	if err := cmp.Or(err, checkPlace(in.Index, netip.IPv4Unspecified()), checkWord("MAC", in.MAC), checkWord("name", in.Name)); err != nil {
		return Setting{}, err
	}
	return Setting{Index: in.Index, Interface: name, MAC: in.MAC, Name: in.Name, Value: in.Value, Was: in.Was}, nil
}
