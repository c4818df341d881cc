package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgdrover/internal/pgtest"
)

func TestEveryFunctionOfEveryPostgreSQLHasACategory(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for version := pgtest.MinVersion; version <= pgtest.MaxVersion; version++ {
		c := pgtest.Start(t, pgtest.WithVersion(version))
		cat := mustLoad(t, connect(t, c.SocketDSN("postgres", pgtest.Superuser)))
		var unknown []string
		for name, overloads := range cat.Functions {
			for _, f := range overloads {
				seen[name.Name] = true
				if f.Category == CategoryUnknown {
					unknown = append(unknown, fmt.Sprintf("%s (%c, %s, args %v)", name.Name, f.Volatility, f.Language, f.Args))
				}
			}
		}
		if slices.Sort(unknown); len(unknown) > 0 {
			t.Errorf("PostgreSQL %d: functions that are in no category, to be put into one with thought:\n%s", version, strings.Join(unknown, "\n"))
		}
		if n := len(cat.byOID); n < 2500 {
			t.Errorf("PostgreSQL %d: only %d functions were loaded", version, n)
		}
	}
	for _, row := range categoryTable {
		for name := range strings.FieldsSeq(row.names) {
			prefix, glob := strings.CutSuffix(name, "*")
			if glob && strings.Contains(prefix, "*") {
				t.Errorf("%s: the * is not at the end", name)
			}
			found := seen[name]
			for s := range seen {
				found = found || glob && strings.HasPrefix(s, prefix)
			}
			if !found {
				t.Errorf("%s (%s) is in no version of PostgreSQL", name, row.category)
			}
		}
	}
	duplicate := map[string]Category{}
	for _, row := range categoryTable {
		for name := range strings.FieldsSeq(row.names) {
			if other, ok := duplicate[name]; ok {
				t.Errorf("%s is in two rows: %s and %s", name, other, row.category)
			}
			duplicate[name] = row.category
		}
	}
}

func TestCategoriesOfFunctionsThatMatterMost(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	cat := mustLoad(t, connect(t, c.SocketDSN("postgres", pgtest.Superuser)))
	for category, names := range map[Category]string{
		CategoryPure:        "lower abs md5 row_number sum count jsonb_set hashint8extended int4eq xpath generate_subscripts",
		CategorySettings:    "to_char concat format json_agg jsonb_build_object current_user",
		CategoryMoving:      "now clock_timestamp random gen_random_uuid statement_timestamp",
		CategoryCatalogs:    "pg_get_viewdef has_table_privilege to_regclass pg_relation_size pg_table_size obj_description satisfies_hash_partition",
		CategoryIdentity:    "inet_server_addr pg_backend_pid version pg_is_in_recovery current_database",
		CategoryTransaction: "txid_current pg_current_xact_id pg_export_snapshot",
		CategorySession:     "set_config current_setting pg_advisory_lock pg_try_advisory_xact_lock currval lastval pg_notify setseed pg_sleep",
		CategorySequence:    "nextval setval",
		CategoryFiles:       "pg_read_file pg_ls_dir pg_read_binary_file",
		CategoryTables:      "query_to_xml table_to_xml schema_to_xml database_to_xml cursor_to_xml ts_stat lo_get query_to_xml_and_xmlschema",
		CategoryWrites:      "lo_import lo_unlink lo_create pg_terminate_backend pg_create_logical_replication_slot pg_logical_emit_message pg_reload_conf",
		CategoryInternal:    "array_agg_transfn RI_FKey_check_ins btint4sortsupport",
	} {
		for name := range strings.FieldsSeq(names) {
			overloads := cat.Functions[Name{"pg_catalog", name}]
			if len(overloads) == 0 {
				t.Errorf("%s is not in the catalog", name)
			}
			for _, f := range overloads {
				if f.Category != category || f.Reaches != category.reaches() {
					t.Errorf("%s%v: got %s, reaches %v; want %s", name, f.Args, f.Category, f.Reaches, category)
				}
			}
		}
	}
	for _, f := range cat.Functions[Name{"pg_catalog", "ts_rewrite"}] {
		if want := len(f.Args) == 2; f.Reaches != want {
			t.Errorf("ts_rewrite%v: reaches is %v, want %v", f.Args, f.Reaches, want)
		}
	}
}
