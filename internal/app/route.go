package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"pgdrover/internal/config"
	"pgdrover/pooler"
	"pgdrover/shard"
)

// Route is the command that explains where a statement goes. It reads the catalogs from the shards itself and needs no pooler that runs.
// A statement that is refused is an error.
func Route(ctx context.Context, out io.Writer, args []string) error {
	fs := pflag.NewFlagSet("pgdrover route", pflag.ContinueOnError)
	file := fs.StringP("config", "c", "", "the configuration file")
	sql := fs.String("sql", "", "the statement, or several")
	database := fs.String("database", "", "the sharded database; may be left out if there is one only")
	role := fs.String("as", "", "the role that sends it, which also reads the catalogs; else user or recovery_user of the database")
	asJSON := fs.Bool("json", false, "print an array of JSON objects")
	fs.Usage = func() {
		fmt.Fprint(out, "Usage:\n  pgdrover route -c CONFIG_FILE --sql 'SELECT …' [OPTION]...\n\nOptions:\n"+fs.FlagUsages())
	}
	switch err := fs.Parse(args); {
	case err != nil:
		return err
	case len(fs.Args()) > 0:
		return fmt.Errorf("pgdrover route: unexpected argument %q", fs.Arg(0))
	case *file == "" || *sql == "":
		return errors.New("pgdrover route: need --config and --sql")
	}
	mgr, err := config.Open(*file, config.Options{})
	if err != nil {
		return err
	}
	if *database == "" {
		if *database, err = onlySharded(mgr.Current()); err != nil {
			return err
		}
	}
	p, err := pooler.New(pooler.Options{Config: mgr, Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	defer p.Close()
	rows, err := p.Route(ctx, *database, *role, *sql)
	if err != nil {
		return explained(err)
	}
	if *asJSON {
		err = printJSON(out, rows)
	} else {
		printRoute(out, rows)
	}
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(rows, func(r shard.RouteRow) bool { return r.Refused != nil }); i >= 0 {
		e := rows[i].Refused
		return explained(&pooler.Error{Code: e.Code, Message: e.Message, Detail: e.Detail, Hint: e.Hint})
	}
	return nil
}

// onlySharded is the name of the only sharded database.
func onlySharded(cfg *config.Config) (string, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(cfg.Databases)) {
		if len(cfg.Databases[name].Shards) > 0 {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return "", errors.New("pgdrover route: no database of the configuration has shards")
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf("pgdrover route: which database? --database is one of %s", strings.Join(names, ", "))
}

// explained adds to an error what a client would be told besides.
func explained(err error) error {
	var e *pooler.Error
	if !errors.As(err, &e) {
		return err
	}
	text := fmt.Sprintf("ERROR:  %s: %s", e.Code, e.Message)
	if e.Detail != "" {
		text += "\nDETAIL:  " + e.Detail
	}
	if e.Hint != "" {
		text += "\nHINT:  " + e.Hint
	}
	return errors.New(text)
}

func printRoute(out io.Writer, rows []shard.RouteRow) {
	for _, r := range rows {
		if r.Refused != nil {
			fmt.Fprintf(out, "refused: %s\n", r.Refused.Construct)
			continue
		}
		where := "any shard, or none"
		if r.Shard != "" {
			where = "shard " + r.Shard
		}
		fmt.Fprintf(out, "statement %d: tier %d, %s, %s", r.Statement, r.Tier, r.Kind, where)
		if r.Key != "" {
			fmt.Fprintf(out, ", key %s", r.Key)
		}
		fmt.Fprintf(out, "\n    %s\n", strings.ReplaceAll(strings.TrimSpace(r.Text), "\n", "\n    "))
	}
}

func printJSON(out io.Writer, rows []shard.RouteRow) error {
	type refusal struct {
		Code      string `json:"code"`
		Construct string `json:"construct"`
		Message   string `json:"message"`
		Detail    string `json:"detail,omitempty"`
		Hint      string `json:"hint,omitempty"`
		Position  int    `json:"position,omitempty"`
	}
	type route struct {
		Statement int      `json:"statement"`
		Tier      int      `json:"tier"`
		Kind      string   `json:"kind"`
		Shard     string   `json:"shard,omitempty"`
		Key       string   `json:"key,omitempty"`
		Text      string   `json:"text"`
		Refused   *refusal `json:"refused,omitempty"`
	}
	list := make([]route, len(rows))
	for i, r := range rows {
		list[i] = route{Statement: r.Statement, Tier: r.Tier, Kind: r.Kind, Shard: r.Shard, Key: r.Key, Text: r.Text}
		if e := r.Refused; e != nil {
			list[i].Refused = &refusal{e.Code, e.Construct, e.Message, e.Detail, e.Hint, e.Position}
		}
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
}
