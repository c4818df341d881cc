package admin

import (
	"context"
	"errors"
	"strings"

	"pgdrover/internal/config"
)

// shardingCommands change shards, keys and tables. Each is all or nothing, in force at once, and kept in config.auto.toml.
func shardingCommands() []*command {
	return []*command{
		sharding("CREATE SHARD <shard> ON DATABASE <database> [ [ WITH ] ( <options*> ) ]", "add a shard: (host '…', port …, …)", createShard),
		sharding("ALTER SHARD <shard> ON DATABASE <database> SET <setting> { = | TO } <value...>", "change a setting of a shard", alterShard),
		sharding("ALTER SHARD <shard> ON DATABASE <database> RESET <setting>", "take it back to the database's", alterShard),
		sharding("DROP SHARD <shard> ON DATABASE <database>", "take out a shard on which nothing is placed", func(a args) (config.ShardingChange, error) {
			return config.DropShard{Name: a["shard"]}, nil
		}),
		sharding("CREATE KEY <key> ON DATABASE <database> TYPE <type*> [ PLACEMENT ( <placement**> ) ]", "add a sharding key; without a placement, by hash over the shards in order", createKey),
		sharding("ALTER KEY <key> ON DATABASE <database> PLACE ON <shard> <bound**> [ WITHOUT MOVING ROWS ]", "put the values of a bound, FOR VALUES … or DEFAULT, on a shard", placeKey),
		sharding("ALTER KEY <key> ON DATABASE <database> DROP <bound**> [ WITHOUT MOVING ROWS ]", "take a bound away", dropBound),
		sharding("ALTER KEY <key> ON DATABASE <database> PLACEMENT ( <placement**> ) [ WITHOUT MOVING ROWS ]", "replace all bounds: (<shard> FOR VALUES …, …)", replacePlacement),
		sharding("DROP KEY <key> ON DATABASE <database>", "take out a sharding key that no table carries", func(a args) (config.ShardingChange, error) {
			return config.DropKey{Name: a["key"]}, nil
		}),
		sharding("CREATE TABLE <table*> ON DATABASE <database> { KEY <key> ( <columns*> ) | REFERENCE }", "enter a table into the shard map", putTable),
		sharding("ALTER TABLE <table*> ON DATABASE <database> { KEY <key> ( <columns*> ) | REFERENCE } [ WITHOUT MOVING ROWS ]", "change where its rows are looked for", putTable),
		sharding("DROP TABLE <table*> ON DATABASE <database> [ WITHOUT MOVING ROWS ]", "take a table out of the shard map; the table itself stays", dropTable),
		sharding("ALTER DATABASE <database> PLACE { SCHEMA <schema*> | OTHER TABLES } { ON <shard> | NOWHERE } [ WITHOUT MOVING ROWS ]", "put tables that have no entry on one shard", placeTables),
		sharding("ALTER DATABASE <database> RESET SHARD MAP [ WITHOUT MOVING ROWS ]", "go back to the shards, keys and tables of the configuration file", func(a args) (config.ShardingChange, error) {
			return config.ResetSharding{WithoutMovingRows: accepted(a)}, nil
		}),
	}
}

// sharding makes a command out of a function that understands its arguments.
func sharding(syntax, help string, change func(args) (config.ShardingChange, error)) *command {
	words := strings.Fields(syntax)
	tag := words[0] + " " + words[1]
	return &command{
		syntax: []string{syntax}, perm: permAdmin, logged: true, help: help,
		run: func(_ context.Context, s *session, a args) (*result, error) {
			c, err := change(a)
			if err != nil {
				return nil, errf(codeSyntax, "%s", err)
			}
			notes, err := s.srv.cfg.AlterSharding(a["database"], c)
			if err != nil {
				return nil, shardingError(tag, err)
			}
			r := &result{tag: tag}
			for _, n := range notes {
				r.notices = append(r.notices, notice{severity: "NOTICE", code: "00000", msg: n})
			}
			return r, nil
		},
	}
}

// shardingError tells a client why a change was refused. Where in config.auto.toml the mistake would have stood is no news.
func shardingError(tag string, err error) error {
	var refused *config.ChangeError
	if errors.As(err, &refused) {
		return &pgError{code: refused.Code, msg: refused.Message, hint: refused.Hint}
	}
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		return settingError(tag+" failed", err)
	}
	pe := errf("22023", "%s", problems[0].Message)
	for _, p := range problems[1:] {
		pe.detail += p.Message + "\n"
	}
	pe.detail = strings.TrimSuffix(pe.detail, "\n")
	pe.hint = "Nothing was changed. SHOW SHARDS, KEYS, TABLES and PLACEMENT tell what is in force."
	return pe
}

func accepted(a args) bool { return a.has("WITHOUT") }

func createShard(a args) (config.ShardingChange, error) {
	c := config.CreateShard{Name: a["shard"]}
	if !a.has("options") {
		return c, nil
	}
	var err error
	c.Options, err = config.ParseOptions("(" + a["options"] + ")")
	return c, err
}

// optionNames lists what an option list sets, without the values, which may be secret.
func optionNames(text string) string {
	options, err := config.ParseOptions("(" + text + ")")
	if err != nil {
		return "?"
	}
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Name
	}
	return strings.Join(names, ", ")
}

func alterShard(a args) (config.ShardingChange, error) {
	c := config.AlterShard{Name: a["shard"], Key: strings.ToLower(a["setting"])}
	if v, ok := a["value"]; ok {
		c.Value = &v
	}
	return c, nil
}

func createKey(a args) (config.ShardingChange, error) {
	c := config.CreateKey{Name: a["key"]}
	var err error
	if c.Types, err = config.ParseTypes(a["type"]); err != nil || !a.has("placement") {
		return c, err
	}
	c.Bounds, err = config.ParsePlacement("(" + a["placement"] + ")")
	return c, err
}

func placeKey(a args) (config.ShardingChange, error) {
	b, err := config.ParseBound(a["bound"])
	b.Shard = a["shard"]
	return config.AlterKey{Name: a["key"], Place: &b, WithoutMovingRows: accepted(a)}, err
}

func dropBound(a args) (config.ShardingChange, error) {
	b, err := config.ParseBound(a["bound"])
	return config.AlterKey{Name: a["key"], Drop: &b, WithoutMovingRows: accepted(a)}, err
}

func replacePlacement(a args) (config.ShardingChange, error) {
	bounds, err := config.ParsePlacement("(" + a["placement"] + ")")
	return config.AlterKey{Name: a["key"], Placement: bounds, WithoutMovingRows: accepted(a)}, err
}

func putTable(a args) (config.ShardingChange, error) {
	c := config.PutTable{Key: a["key"], Alter: a.has("ALTER"), WithoutMovingRows: accepted(a)}
	var err error
	if c.Table, err = config.ParseTableName(a["table"]); err != nil || a.has("REFERENCE") {
		return c, err
	}
	c.Columns, err = config.ParseNames("(" + a["columns"] + ")")
	return c, err
}

func dropTable(a args) (config.ShardingChange, error) {
	t, err := config.ParseTableName(a["table"])
	return config.DropTable{Table: t, WithoutMovingRows: accepted(a)}, err
}

func placeTables(a args) (config.ShardingChange, error) {
	c := config.PlaceTables{Shard: a["shard"], WithoutMovingRows: accepted(a)}
	if !a.has("schema") {
		return c, nil
	}
	names, err := config.ParseNames(a["schema"])
	if err == nil && len(names) == 1 {
		c.Schema = names[0]
	} else if err == nil {
		err = errors.New("syntax error: one schema expected")
	}
	return c, err
}
