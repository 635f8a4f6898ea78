package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

func isHelp(arg string) bool {
	switch arg {
	case "help", "-h", "-help", "--help":
		return true
	}
	return false
}

func (c *cli) usage(w io.Writer) {
	fmt.Fprint(w, "Realms is a relay for OpenAI-compatible APIs.\n\nUsage: realms COMMAND [FLAGS]\n\n")
	c.groupUsage(w, "")
	fmt.Fprint(w, "\nrealms COMMAND --help says more. Configuration: --config FILE, or realms.yaml,\nor the environment (REALMS_SERVER_ADDR, REALMS_DATA_DIR, REALMS_DB_DSN, …).\n")
}

// groupUsage lists the commands that begin with a word, all of them for none.
func (c *cli) groupUsage(w io.Writer, group string) {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, cmd := range commands() {
		if first, _, _ := strings.Cut(cmd.name, " "); group == "" || first == group {
			fmt.Fprintf(table, "  %s\t%s\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.short)
		}
	}
	_ = table.Flush() // help that cannot be written is seen by its absence
}

func (cmd command) help(w io.Writer, f *flag.FlagSet) {
	fmt.Fprintf(w, "%s\n\nUsage: realms %s [FLAGS]\n", cmd.short, strings.TrimSpace(cmd.name+" "+cmd.args))
	if cmd.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(cmd.long))
	}
	fmt.Fprint(w, "\nFlags:\n")
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	f.VisitAll(func(fl *flag.Flag) {
		value, text := flag.UnquoteUsage(fl)
		dashes := "--"
		if len(fl.Name) == 1 {
			dashes = "-"
		}
		fmt.Fprintf(table, "  %s\t%s\n", strings.TrimSpace(dashes+fl.Name+" "+value), text)
	})
	_ = table.Flush() // as above
}
