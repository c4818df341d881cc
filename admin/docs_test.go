package admin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const docsIntro = `# The admin database

` + "```" + `
psql -h 127.0.0.1 -p 6432 -U admin pgdrover
` + "```" + `

pgdrover is watched and steered with SQL. It answers on the database ` + "`pgdrover`" + `, and under the name ` + "`pgbouncer`" + `
as well, which exporters and scripts for PgBouncer expect. Its commands, columns, command tags and messages are
PgBouncer's; what is ours stands behind them.

* Users in ` + "`admin_users`" + ` may do everything, users in ` + "`stats_users`" + ` may SHOW and SELECT.
* The simple and the extended protocol work, with prepared statements, parameters and binary results, so that every
  driver can be used. Several commands may stand in one string, separated by ` + "`;`" + `.
* Keywords may be written in upper or lower case. Names with other characters than letters, digits and ` + "`_ . -`" + `
  are quoted: ` + "`PAUSE \"my shop\"`" + `.
* ^C ends a PAUSE, WAIT_CLOSE or SELECT that is still waiting, and so does a client that leaves; the PAUSE is undone.
* BEGIN, COMMIT and ROLLBACK are accepted, because drivers send them; what a command did is not rolled back.
* While the configuration file has an error, each session is told once, and ` + "`SHOW STATE`" + ` has it as ` + "`config_error`" + `.
* Every command that needs admin access is logged with user and address. Values that may be secret are masked.

This page is made from the tables of commands and views; ` + "`go test ./admin -update`" + ` rewrites it.
`

const docsSQL = `
## SELECT

Every view can be queried with full SQL, joined and aggregated:

` + "```sql" + `
SELECT database, sum(cl_waiting) FROM pools GROUP BY 1;

SELECT c.addr, c.application_name, c.query, c.xact_age_s, s.remote_pid
FROM clients c JOIN servers s ON c.link = s.ptr
WHERE c.in_transaction = 1 ORDER BY c.xact_age_s DESC;

SELECT * FROM columns WHERE name LIKE '%%wait%%';
` + "```" + `

The SQL is SQLite's, with its functions, on one snapshot of the views that the statement names. Parameters are
` + "`$1`, `$2`" + `; casts are written ` + "`CAST(x AS type)`" + `. Columns that come from a view have the view's type, others the type
of their values. %s work too. Nothing can be written.

| limit | |
|---|---|
| time of one SELECT | %s |
| rows of its result | %d |
| memory of all SELECTs together | %d MiB |
| one value | %d MiB |
| SELECTs at once; others wait | %d |
| prepared statements of a session | %d, %d MiB |
| portals of a session | %d |
| one message | %d MiB |

` + "`SELECT pools`" + ` without FROM is PgBouncer's other way to write ` + "`SHOW POOLS`" + `.
`

func docs() string {
	set := newRegistry()
	var b strings.Builder
	b.WriteString(docsIntro)
	b.WriteString("\n## Commands\n\n| command | access | |\n|---|---|---|\n")
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, c := range set.commands {
		if c.help == "" {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", cell(c.display()), c.perm, cell(c.help))
	}
	var fns []string
	for _, f := range sessionFunctions() {
		fns = append(fns, "`"+f+"`")
	}
	l := SQLLimits{}.withDefaults()
	fmt.Fprintf(&b, docsSQL, strings.Join(fns, ", "), l.Time, l.Rows, sqliteHeap>>20, maxValue>>20, l.Concurrent, maxStatements, maxStatementBytes>>20, maxPortals, maxMessage>>20)
	b.WriteString("\n## Views\n")
	for _, v := range set.views {
		fmt.Fprintf(&b, "\n### SHOW %s\n\n%s.\n\n| column | type | |\n|---|---|---|\n", strings.ToUpper(v.name), strings.ToUpper(v.meaning[:1])+v.meaning[1:])
		for _, c := range v.cols {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", c.name, c.typ.info().name, cell(c.meaning))
		}
		if v.exact > 0 {
			fmt.Fprintf(&b, "\nOn the database `pgbouncer`, SHOW has only the first %d, because exporters count them; SELECT has all.\n", v.exact)
		}
	}
	return b.String()
}

func TestDocsAreCurrent(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "docs", "admin.md")
	got := docs()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/admin.md is stale (-file +tables); go test ./admin -update rewrites it:\n%s", diff)
	}
}

func TestEveryRowOfTheTablesIsExplained(t *testing.T) {
	t.Parallel()
	set := newRegistry()
	for _, v := range set.views {
		seen := map[string]bool{}
		for _, c := range v.cols {
			if c.meaning == "" || seen[c.name] {
				t.Errorf("%s.%s: no meaning, or twice", v.name, c.name)
			}
			seen[c.name] = true
		}
	}
	for _, c := range set.commands {
		if c.perm == permAdmin && !c.logged && c.help != "" {
			t.Errorf("%s is not logged", c.syntax[0])
		}
	}
}
