package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgdrover/internal/config"
)

// Every layout is a configuration that pgdrover accepts, and only the sharded one answers to the loads with shards.
func TestLayoutsAreConfigurations(t *testing.T) {
	t.Parallel()
	for l, shards := range map[layout]int{layoutPlain: 0, layoutBeside: 0, layoutSharded: shardCount} {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(layoutConfig(l, 5432, 6432)), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, warnings, err := config.Load(path)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", l, err, warnings)
			continue
		}
		if got := len(cfg.Databases[benchDB].Shards); got != shards {
			t.Errorf("%s: %d shards, want %d", l, got, shards)
		}
		if _, ok := cfg.Databases["other"]; ok != (l == layoutBeside) {
			t.Errorf("%s: the database beside: %v", l, ok)
		}
	}
}

// Without pgdrover there is nothing to compare, and no PgBouncer is needed.
func TestShardingScenariosAreSkippedWithoutPgdrover(t *testing.T) {
	if testing.Short() {
		t.Skip("starts PostgreSQL")
	}
	t.Setenv(pgbouncerEnv, "/no/such/pgbouncer")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-pgdrover", none, "-rounds", "1", "-only", "^sharded: INSERT"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "skipped: it compares pgdrover with itself") {
		t.Errorf("got\n%s", &out)
	}
}

// The whole way with shards: pgbench by key, and INSERT.
func TestRunSharded(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{"-rounds", "1", "-duration", "1", "-only", "^sharded: (UPDATE by key, prepared|INSERT)"}, &out, io.Discard)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"pgdrover, plain", "pgdrover, sharded", "PostgreSQL alone", "goal CPU ≤ 1.15 ×", "goal rows ≥ 0.7 ×"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in the report:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "failed") {
		t.Errorf("something failed:\n%s", &out)
	}
}
