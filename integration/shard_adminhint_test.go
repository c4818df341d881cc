package integration

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// where is a query that tells on which shard it ran.
const where = "SELECT current_database()"

// hintSteps is a session: statements, and what they answer: a value, or the SQLSTATE and some words of an error.
var hintSteps = [...][2]string{
	// A comment.
	{where + " /* shard=b */", "shop_b"},
	{where + " /* shard=a */", "shop_a"},
	{"/* shard='b' */ " + where, "shop_b"},
	{where + " /* shard_key=1 */", "HOME 1"},
	{where + " /* shard_key=3 */", "HOME 3"},
	{"SELECT count(*) FROM customers /* shard=b */", "COUNT b"},
	{"SELECT count(*) FROM customers", "0A000 aggregate"},
	// A session's own.
	{"SET pgdrover.shard = 'b'", ""},
	{"SHOW pgdrover.shard", "b"},
	{where, "shop_b"},
	{"SELECT count(*) FROM customers", "COUNT b"},
	// A comment goes before it.
	{where + " /* shard=a */", "shop_a"},
	// A transaction's goes before the session's, and a comment before both.
	{"BEGIN", ""},
	{"SET LOCAL pgdrover.shard = 'a'", ""},
	{"SHOW pgdrover.shard", "a"},
	{where, "shop_a"},
	{where + " /* shard=b */", "shop_b"},
	{where, "shop_a"},
	{"COMMIT", ""},
	{"SHOW pgdrover.shard", "b"},
	{where, "shop_b"},
	// What a transaction sets for the session is undone with it.
	{"BEGIN", ""},
	{"SET pgdrover.shard = 'a'", ""},
	{where, "shop_a"},
	{"ROLLBACK", ""},
	{where, "shop_b"},
	{"BEGIN", ""},
	{"SET pgdrover.shard = 'a'", ""},
	{"SET LOCAL pgdrover.shard = 'b'", ""},
	{where, "shop_b"},
	{"COMMIT", ""},
	{where, "shop_a"},
	// The key of a row instead of a shard's name.
	{"SET pgdrover.shard_key = '3'", ""},
	{"SHOW pgdrover.shard_key", "3"},
	{where, "HOME 3"},
	{"SET pgdrover.shard_key.customer = 1", ""},
	{where, "HOME 1"},
	{"RESET pgdrover.shard_key", ""},
	{"SHOW pgdrover.shard", ""},
	{"SELECT count(*) FROM customers", "0A000 aggregate"},
	// A hint that contradicts the statement's own key, or itself, or nothing that there is.
	{"SELECT id FROM customers WHERE id = 1 /* shard=AWAY 1 */", "22023 another one"},
	{"SELECT id FROM customers WHERE id = 1 /* shard=HOME 1 */", "1"},
	{"SELECT id FROM customers WHERE id = 1 /* shard_key=1 */", "1"},
	{"INSERT INTO customers (id) VALUES (1) /* shard=AWAY 1 */", "22023 another one"},
	{"SELECT value FROM settings /* shard=b */", "22023 another one"},
	{where + " /* shard=a */ /* shard=b */", "22023 contradicting"},
	{where + " /* shard=AWAY 1, shard_key=1 */", "22023 the hints name shard"},
	{where + " /* shard=nix */", `22023 there is no shard "nix"`},
	{where + " /* shard_key=x */", "22023 shard_key"},
	{where + " /* this shard=b is prose */", "22023 malformed"},
	{"SET pgdrover.shard = 'nix'", `22023 there is no shard "nix"`},
	{"SET pgdrover.shard_key.nix = 1", `22023 there is no sharding key "nix"`},
	{"SET pgdrover.nonsense = 1", "22023 unrecognized"},
	{"SHOW pgdrover.shard", ""},
	{"SET pgdrover.shard = 'HOME 1'", ""},
	{"SELECT id FROM customers WHERE id = 1", "1"},
	{"SELECT id FROM customers WHERE id = 1 /* shard=AWAY 1 */", "22023 another one"},
	{"SET pgdrover.shard TO DEFAULT", ""},
	{"SHOW pgdrover.shard", ""},
}

// hintShop is a shop with ten customers, and the function that puts the names of shards into a step.
func hintShop(t *testing.T) (*shop, func(string) string) {
	t.Helper()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "INSERT INTO customers (id) VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)")
	counts := s.onShards(t, "SELECT count(*) FROM customers")
	homes := map[string]string{}
	for _, id := range []string{"1", "3"} {
		homes[id] = s.shards[slices.Index(s.onShards(t, "SELECT count(*) FROM customers WHERE id = "+id), "1")]
	}
	other := map[string]string{"a": "b", "b": "a"}
	return s, func(step string) string {
		if id, ok := strings.CutPrefix(step, "HOME "); ok && homes[id] != "" {
			return "shop_" + homes[id]
		}
		return strings.NewReplacer("HOME 1", homes["1"], "AWAY 1", other[homes["1"]], "COUNT b", counts[1]).Replace(step)
	}
}

func TestHintsNameTheShard(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s, names := hintShop(t)
	for _, mode := range []string{"simple_protocol", "exec", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			c := s.Connect(ctx, "shop", "app", "default_query_exec_mode="+mode)
			for i, step := range hintSteps {
				sql, want := names(step[0]), names(step[1])
				rows, err := c.Query(ctx, sql)
				got := ""
				if err == nil {
					var values []any
					if values, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (any, error) { return string(r.RawValues()[0]), nil }); len(values) > 0 {
						got = values[0].(string)
						if mode == "cache_statement" && len(got) == 8 && got[0] == 0 { // a bigint in binary
							got = string('0' + got[7])
						}
					}
				}
				code, words, _ := strings.Cut(want, " ")
				switch {
				case err != nil && (len(code) != 5 || !strings.HasPrefix(codeOf(err), code) || !strings.Contains(codeOf(err), words)):
					t.Errorf("step %d, %s: %v, want %s", i, sql, err, want)
				case err == nil && got != want:
					t.Errorf("step %d, %s: %q, want %q", i, sql, got, want)
				}
			}
		})
	}
}

// The same session in psql.
func TestHintsNameTheShardInPsql(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s, names := hintShop(t)
	psql, err := pgtest.FindPsql(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var in, want bytes.Buffer
	for _, step := range hintSteps {
		in.WriteString(names(step[0]) + ";\n\\echo done\n")
		if w := names(step[1]); w != "" && len(strings.SplitN(w, " ", 2)[0]) != 5 {
			want.WriteString(w + "\n")
		} else if strings.HasPrefix(step[0], "SHOW") {
			want.WriteString("\n")
		}
		want.WriteString("done\n")
	}
	cmd := exec.CommandContext(ctx, psql, "-X", "-w", "-q", "-A", "-t", "-d", s.DSN("shop", "app"))
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Errorf("psql prints\n%s\nwant\n%s\n%s", &out, &want, &errs)
	}
	for _, step := range hintSteps {
		if code, words, _ := strings.Cut(names(step[1]), " "); len(code) == 5 && !strings.Contains(errs.String(), words) {
			t.Errorf("psql does not say %q", words)
		}
	}
}
