package pooler

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTextsWithEffectsBeyondTheirTransactionAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]effect{
		"SELECT abalance FROM pgbench_accounts WHERE aid = 1;":  0,
		"select timestamp, example, company from employees e":   0,
		"SELECT * INTO TEMP t FROM x":                           keepsState,
		"with a as (select 1) select * into temporary t from a": keepsState,
		"select 1 into pg_temp.t":                               keepsState,
		"SELECT x INTO TEM":                                     0,
		"SELECT pg_advisory_lock(1)":                            keepsState,
		"select pg_try_advisory_lock_shared(1, 2)":              keepsState,
		"select pg_advisory_xact_lock(1)":                       0,
		"select pg_advisory_unlock(1)":                          0,
		"insert into t select pg_Advisory_Lock(i) from x":       keepsState,
		"CREATE TEMP TABLE t (a int)":                           keepsState,
		"create /* x */ temporary view v as select 1":           keepsState,
		"CREATE TABLE t (a int)":                                0,
		"CREATE TABLE pg_temp.t (a int)":                        keepsState,
		"select 1; create temp table x ()":                      keepsState,
		"DECLARE c CURSOR WITH HOLD FOR SELECT 1":               keepsState,
		"PREPARE p AS SELECT 1":                                 keepsState,
		"DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$":       keepsState | sets,
		"SELECT set_config('a', 'b', false)":                    setsParameter,
		"begin; select SET_CONFIG('a', 'b', false)":             setsParameter,
		"LISTEN x":                               listening,
		"select 1; UNLISTEN *":                   listening,
		"RESET ALL":                              resets | sets,
		"DISCARD ALL":                            resets | drops | sets,
		"select 1; deallocate x":                 drops,
		"/* */ Deallocate prepare all":           drops | keepsState,
		"select 'deallocate x'":                  0,
		"select 1; select 'discard all'":         sets,
		"SET x TO DEFAULT":                       resets | sets,
		"SET x = 'default'":                      sets,
		"CREATE TABLE t (a int DEFAULT 1)":       0,
		"DISCARD TEMP":                           keepsState | drops | sets,
		"set local time zone default":            resets | sets,
		"":                                       0,
		"temp":                                   keepsState,
		"select temp":                            keepsState,
		strings.Repeat(" ", 9) + "select te mp ": 0,
		"SELECT 'x' || 'temp' || 'y' AS lengthy": keepsState,
	} {
		if got := effectsOf([]byte(text), firstWord([]byte(text)), true).effect; got != want {
			t.Errorf("%s: %b, want %b", text, got, want)
		}
	}
	for i := range 40 { // wherever it stands
		text := []byte("select " + strings.Repeat(" ", i) + "TeMP" + strings.Repeat(".", 40-i))
		if got := effectsOf(text, firstWord(text), true).effect; got != keepsState {
			t.Errorf("%s: %b", text, got)
		}
	}
}

func TestResetsAreReadFromAnyWayToWriteThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]reset{
		"RESET application_name":                 {{name: "application_name"}},
		`reset "DateStyle";`:                     {{name: "datestyle"}},
		"RESET ALL":                              {{}},
		"RESET my.own":                           {{name: "my.own"}},
		"RESET TIME ZONE":                        {{name: "timezone"}},
		"SET TIME ZONE LOCAL":                    {{name: "timezone"}},
		"SET LOCAL TIME ZONE DEFAULT":            {{name: "timezone", local: true}},
		"SET SESSION x TO DEFAULT":               {{name: "x"}},
		"SET x=DEFAULT":                          {{name: "x"}},
		"SET LOCAL a.b = default":                {{name: "a.b", local: true}},
		"SET NAMES DEFAULT":                      {{name: "client_encoding"}},
		"RESET SESSION AUTHORIZATION":            {{name: "session_authorization"}},
		"SET SESSION AUTHORIZATION DEFAULT":      {{name: "session_authorization"}},
		"DISCARD ALL":                            {{discard: true}},
		"DISCARD PLANS":                          nil,
		"SET x TO 'default'":                     nil,
		"SET x TO y":                             nil,
		"SELECT 'RESET ALL'; -- RESET x":         nil,
		"DO $x$ BEGIN RESET y; END $x$; RESET z": {{name: "z"}},
		"/* a /* b */ c */ RESET x":              {{name: "x"}},
		`SELECT E'\'; RESET y'; RESET x`:         {{name: "x"}},
		"RESET x; SELECT 1":                      {{name: "x", relied: true}},
		"SELECT 1; RESET x; COMMIT; RESET y":     {{name: "x"}, {name: "y"}},
		"SET LOCAL x = 1; SET SESSION CHARACTERISTICS AS x DEFAULT": nil,
		"RESET":                             nil,
		"SET":                               nil,
		"SET LOCAL":                         nil,
		"SET TRANSACTION ISOLATION DEFAULT": nil,
	} {
		if diff := cmp.Diff(want, findResets([]byte(text)), cmp.AllowUnexported(reset{})); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func FuzzEffects(f *testing.F) {
	for _, s := range []string{"RESET x; SET LOCAL y TO DEFAULT", "select $a$ $b$ $a$; reset all", `E'\`, "/*/**/", `"`, "$$", "temp", "select mp temp"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		fx := effectsOf(text, firstWord(text), true)
		low := strings.ToLower(string(text))
		for _, r := range findResets(text) {
			if r.name != "" && strings.Contains(r.name, ";") && !strings.Contains(low, `"`) {
				t.Errorf("a name with a semicolon: %q", r.name)
			}
		}
		first, _, _ := strings.Cut(strings.TrimSpace(low), " ")
		if first == "select" && strings.Contains(low, "temp") && fx.effect&keepsState == 0 && !strings.Contains(low, ";") {
			t.Errorf("%q mentions temp", text)
		}
	})
}

func BenchmarkEffects(b *testing.B) {
	text := []byte("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
	for b.Loop() {
		if effectsOf(text, firstWord(text), true).effect != 0 {
			b.Fatal("effects")
		}
	}
	b.SetBytes(int64(len(text)))
}
