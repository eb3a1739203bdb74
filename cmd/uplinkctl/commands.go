package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/uplinkd/uplinkd/internal/control"
)

func statusCommand(dir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the uplinks, their state, addresses and gateways",
		Args:  cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON for programs, with a versioned schema")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var st control.Status
		err := ask(*dir, func(c *control.Client) (err error) {
			st, err = c.Status(cmd.Context())
			return err
		})
		if err != nil {
			return err
		}
		text := table(st)
		if *asJSON {
			if text, err = asciiJSON(st); err != nil {
				return failure{err}
			}
		}
		return show(cmd.OutOrStdout(), text)
	}
	return cmd
}

// flushed says what is so after a flush, and how it ends.
const flushed = `All rules and routes of uplinkd are removed. It goes on running, suspended:
it puts nothing back until "systemctl reload uplinkd" (SIGHUP) or a restart.
`

func flushCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "flush",
		Short: "Remove all rules and routes of uplinkd from the kernel, and suspend it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := ask(*dir, func(c *control.Client) error { return c.Flush(cmd.Context()) })
			if errors.Is(err, control.ErrNotRunning) {
				return failure{fmt.Errorf(`%w; "uplinkd --flush" removes what it left in the kernel without starting it`, err)}
			}
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), flushed)
		},
	}
}

func versionCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of uplinkctl and of the running uplinkd",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			daemon := "not running"
			err := ask(*dir, func(c *control.Client) error {
				st, err := c.Status(cmd.Context())
				daemon = st.Version
				return err
			})
			if err != nil && !errors.Is(err, control.ErrNotRunning) {
				daemon = "unknown: " + err.Error()
			}
			return show(cmd.OutOrStdout(), fmt.Sprintf("uplinkctl %s\nuplinkd %s\n", version, printableText(daemon)))
		},
	}
}

// ask runs a question on a connection to the daemon; its error is a failure.
func ask(dir string, question func(*control.Client) error) error {
	c, err := control.Dial(dir)
	if err != nil {
		return failure{err}
	}
	defer c.Close()
	if err := question(c); err != nil {
		return failure{err}
	}
	return nil
}

func show(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return failure{fmt.Errorf("write the answer: %w", err)}
	}
	return nil
}
