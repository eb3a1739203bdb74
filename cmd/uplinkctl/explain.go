package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/uplinkd/uplinkd/internal/explain"
	"github.com/uplinkd/uplinkd/internal/explain/live"
)

const explainHelp = `Walk the rules and routes for one packet as the kernel does, and say at each step why.
It asks the kernel for the same route: where the two disagree, the first line says so, and the exit status is 1.
Nothing is changed, no daemon is needed, and no root.

  uplinkctl explain 192.0.2.9
  uplinkctl explain 192.0.2.9 from 10.1.0.2 ipproto tcp dport 443
  uplinkctl explain 2001:db8::9 oif wan0
  uplinkctl explain 192.0.2.9 from 10.7.0.2 iif lan0    (a packet to be forwarded)`

// explainCommand is "uplinkctl explain".
func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain " + explain.Syntax,
		Short: "Say where a packet goes, and why: rule by rule, route by route",
		Long:  explainHelp,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON for programs, with a versioned schema")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := explain.Parse(args, uint32(os.Getuid()))
		if err != nil {
			return err
		}
		names := live.TableNames("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")
		answer, err := live.Explain(cmd.Context(), q, live.TableText(names))
		if usage, ok := errors.AsType[live.Usage](err); ok {
			return usage
		}
		if err != nil {
			return failure{err}
		}
		text := explainText(&answer)
		if *asJSON {
			if text, err = asciiJSON(answer); err != nil {
				return failure{err}
			}
		}
		if err := show(cmd.OutOrStdout(), text); err != nil {
			return err
		}
		if answer.Differs != "" {
			return failure{errors.New("the walk and the kernel disagree: " + answer.Differs)}
		}
		return nil
	}
	return cmd
}
