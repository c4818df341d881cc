package pooler

import "testing"

func TestTextsThatDropStatementsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"DEALLOCATE ALL": true, " \n discard all\x00\x00\x00": true, "select 1; Deallocate x": true, "/* a /* b */ */ discard plans": true,
		"-- x\nDISCARD TEMP": true, "select 'deallocate'": false, "": false, ";": false, "/*": false, "--": false, "/* /* */ discard all": false,
		"select 1 -- ; \n": false, "create table discard (a int)": false, "\x00discard": false, "dealloc": false,
	} {
		if got := dropsStatements([]byte(text)); got != want {
			t.Errorf("%q: got %t, want %t", text, got, want)
		}
	}
}
