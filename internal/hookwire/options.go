package hookwire

import (
	"fmt"
	"slices"
	"strings"
)

// The generic client has no hook of its own that would name anything: a person writes its options.
const (
	optionInterface = "--interface"
	optionRemove    = "--remove" // the only one without a value
)

// GenericOptions lists the options of the generic client.
func GenericOptions() []string {
	return []string{
		optionInterface, "--address", "--delegated", "--gateway", "--dns", "--mtu", "--lifetime", "--route", "--source", optionRemove,
	}
}

// CheckGeneric says what is wrong with the form of a generic client's arguments, so that the person who wrote them is told at
// once. The values are for the function to look at, or where it is nil for the daemon alone.
func CheckGeneric(args []string, check func(option, value string) error) error {
	if len(args) > MaxArgs {
		return fmt.Errorf("%d arguments, at most %d are taken: write --option=value, and a call for each address", len(args), MaxArgs)
	}
	named := 0
	for len(args) > 0 {
		name, value, rest := nextOption(args)
		switch {
		case !strings.HasPrefix(name, "--"):
			return fmt.Errorf("%.40q is not an option", name)
		case !slices.Contains(GenericOptions(), name):
			return fmt.Errorf("unknown option %.40q", name)
		case name == optionRemove && strings.Contains(args[0], "="):
			return fmt.Errorf("%s takes no value", name)
		case name != optionRemove && value == "":
			return fmt.Errorf("%s has no value", name)
		case len(value) > MaxValue || name == optionInterface && len(value) > MaxInterface:
			return fmt.Errorf("the value of %s is too long", name)
		case name == optionInterface:
			named++
		case check != nil:
			if err := check(name, value); err != nil {
				return fmt.Errorf("%s %.40q: %w", name, value, err)
			}
		}
		args = rest
	}
	if named != 1 {
		return fmt.Errorf("%s must be there once", optionInterface)
	}
	return nil
}

// nextOption takes an option off the front: --name value, --name=value, or --remove.
func nextOption(args []string) (name, value string, rest []string) {
	name, value, joined := strings.Cut(args[0], "=")
	rest = args[1:]
	if !joined && name != optionRemove && len(rest) > 0 {
		value, rest = rest[0], rest[1:]
	}
	return name, value, rest
}

// optionValue is the value of an option, the last where it is there more than once; empty where it is not.
func optionValue(args []string, option string) (found string) {
	for len(args) > 0 {
		name, value, rest := nextOption(args)
		if name == option {
			found = value
		}
		args = rest
	}
	return found
}
