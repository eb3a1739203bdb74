package config

import (
	"os"
	"strings"
	"testing"
)

// TestReadme: the configuration that the README shows is a good one.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```toml\n")
	example, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the README shows no configuration")
	}
	c, err := Parse("README.md", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Uplinks) != 3 || c.Uplinks[0].Name != "dsl" || c.Uplinks[1].Mask != 0xff00 || c.Uplinks[1].Fence {
		t.Errorf("it says %+v", c.Uplinks)
	}
}
