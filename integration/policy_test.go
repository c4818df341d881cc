package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the first element of our own import paths.
const module = "pgdrover"

// maxLines is the length from which a file has more than one subject.
const maxLines = 700

// An importRule says what the packages of a folder may not import, and why.
type importRule struct {
	from   string   // folder of the importing package, relative to the module; "…/*" for all below it; "*" for all
	not    []string // import paths, ours relative to the module ("admin"), others whole ("net"); "…/*" likewise
	except []string // folders that from does not mean
	reason string
}

// importRules keep the way of the imports: main, then admin, then pooler and reshard, then shard, then internal.
// They hold for code, not for tests, which may look at a package from above.
var importRules = []importRule{
	{
		from: "*", not: []string{"", "bench", "integration"},
		reason: "programs and test suites are at the end of the way, nothing builds on them",
	},
	{
		from: "internal/*", except: []string{"internal/app"}, not: []string{"admin", "pooler", "shard", "shard/*"},
		reason: "internal packages are the floor: they serve every layer and know none (internal/app is main's own: it wires them)",
	},
	{
		from: "*", except: []string{".", "integration"}, not: []string{"internal/app"},
		reason: "the wiring belongs to main; tests start it inside their own process",
	},
	{
		from: "shard", not: []string{"admin", "pooler", "shard/reshard"},
		reason: "where a statement goes is decided without knowing who asks or how it travels",
	},
	{
		from: "shard/merge", not: []string{"admin", "pooler", "shard/reshard"},
		reason: "merging rows is a pure function of rows",
	},
	{
		from: "shard", not: []string{"net", "net/*", "os", "os/*"},
		reason: "planning is pure: no sockets and no files, so that it can be tested against PostgreSQL by the million",
	},
	{
		from: "shard/merge", not: []string{"net", "net/*", "os", "os/*"},
		reason: "merging is pure: no sockets and no files",
	},
	{
		from: "pooler", not: []string{"admin", "shard/reshard"},
		reason: "the data plane knows the admin database and resharding only as interfaces that it defines",
	},
	{
		from: "shard/reshard", not: []string{"admin", "pooler"},
		reason: "resharding knows the pooler only as an interface that holds, releases and repoints traffic",
	},
	{
		from: "internal/wire", not: []string{"internal/*"},
		reason: "frames are bytes: who sends them and what is configured is not their business",
	},
	{
		from: "internal/stats", not: []string{"internal/*"},
		reason: "counters are read by everybody and so may depend on nobody",
	},
	{
		from: "internal/pgtest", not: []string{"internal/*"},
		reason: "the servers that tests compare us with must not depend on what is tested",
	},
	{
		from: "*", except: []string{"internal/pgtest", "internal/demo", "bench", "integration"}, not: []string{"internal/pgtest", "testing"},
		reason: "throw-away servers and test tools are for tests, the demo and the benchmark; main starts them by way of internal/demo",
	},
	{
		from: "*", not: []string{"log", "github.com/stretchr/*"},
		reason: "logs go through internal/logging, tests use the standard library and go-cmp",
	},
	{
		from: "*", except: []string{"internal/sqlparse", "shard"}, not: []string{"github.com/pganalyze/*"},
		reason: "the C parser is called behind one gate that limits size and nesting; shard has its trees",
	},
}

// A callRule forbids a function.
type callRule struct {
	pkg, prefix string // import path, and how the function's name begins
	applies     func(sourceFile, *ast.FuncDecl) bool
	reason      string
}

var callRules = []callRule{
	{
		"time", "Sleep",
		func(f sourceFile, fn *ast.FuncDecl) bool {
			return f.test && (fn == nil || !strings.EqualFold(fn.Name.Name, "eventually"))
		},
		"a test waits for a condition (pgtest.Eventually, or a function named eventually), or runs in a synctest bubble",
	},
	{
		"context", "TODO",
		func(sourceFile, *ast.FuncDecl) bool { return true },
		"say whose life the call belongs to",
	},
	{
		"os", "Exit", outsideMain,
		"only main ends the process: deferred clean-up would not run",
	},
	{
		"log", "Fatal", outsideMain,
		"only main ends the process: deferred clean-up would not run",
	},
	{
		"fmt", "Print", outsideMain,
		"write to an io.Writer that was handed in, or to the log",
	},
	parserRule("Parse"), parserRule("Deparse"), parserRule("Normalize"), parserRule("Fingerprint"), parserRule("Scan"), parserRule("Split"), parserRule("HashXXH3"),
}

// parserRule keeps the functions of the C parser in one package.
func parserRule(prefix string) callRule {
	return callRule{
		"github.com/pganalyze/pg_query_go/v5", prefix,
		func(f sourceFile, _ *ast.FuncDecl) bool { return !f.test && f.dir != "internal/sqlparse" },
		"hostile text can crash the C parser: internal/sqlparse limits size and nesting before each call",
	}
}

// outsideMain excludes programs and the main functions of tests and examples.
func outsideMain(f sourceFile, fn *ast.FuncDecl) bool {
	if f.test && fn != nil && (fn.Name.Name == "TestMain" || strings.HasPrefix(fn.Name.Name, "Example")) {
		return false
	}
	return f.syntax.Name.Name != "main"
}

// A sourceFile is one file of Go in the tree.
type sourceFile struct {
	path   string // relative to the module's root
	dir    string
	test   bool
	lines  int
	syntax *ast.File
}

// sources parses the whole tree.
func sources(t *testing.T) (*token.FileSet, []sourceFile) {
	t.Helper()
	root := moduleRoot(t)
	fset := token.NewFileSet()
	var files []sourceFile
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if base := e.Name(); name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{
			path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			lines: strings.Count(string(content), "\n"), syntax: syntax,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d files below %s", len(files), root)
	}
	return fset, files
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod in any folder above")
		}
		dir = filepath.Dir(dir)
	}
}

// matches reports whether a folder or import path is meant by a pattern.
func matches(pattern, p string) bool {
	if below, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(p, below)
	}
	return p == pattern
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	fset, files := sources(t)
	for _, f := range files {
		if f.test {
			continue
		}
		for _, imp := range f.syntax.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if r := brokenRule(f.dir, p); r != nil {
				t.Errorf("%s: %s must not import %s: %s", fset.Position(imp.Pos()), f.dir, p, r.reason)
			}
		}
	}
}

// brokenRule returns the rule that forbids a package in dir the import of p, nil if none does.
func brokenRule(dir, p string) *importRule {
	own := p == module || strings.HasPrefix(p, module+"/")
	if own {
		p = strings.TrimPrefix(strings.TrimPrefix(p, module), "/")
	}
	for i, r := range importRules {
		if !matches(r.from, dir) || slices.Contains(r.except, dir) || own && p == dir {
			continue
		}
		for _, not := range r.not {
			if matches(not, p) && own == isOwn(not) {
				return &importRules[i]
			}
		}
	}
	return nil
}

// isOwn tells our folders from packages of others in a rule.
func isOwn(pattern string) bool {
	top, _, _ := strings.Cut(pattern, "/")
	return slices.Contains([]string{"", "admin", "bench", "integration", "internal", "pooler", "shard"}, top)
}

// A rule that forbids nothing would go unnoticed.
func TestImportRulesForbidWhatTheyShould(t *testing.T) {
	t.Parallel()
	tests := []struct {
		dir, imports string
		allowed      bool
	}{
		{".", "pgdrover/admin", true},
		{".", "pgdrover/internal/pgtest", false},
		{".", "pgdrover/internal/demo", true},
		{"admin", "pgdrover/pooler", true},
		{"admin", "pgdrover/shard/reshard", true},
		{"admin", "pgdrover/internal/wire", true},
		{"pooler", "pgdrover/admin", false},
		{"pooler", "pgdrover/shard/reshard", false},
		{"pooler", "pgdrover/shard", true},
		{"pooler", "net", true},
		{"shard", "pgdrover/pooler", false},
		{"shard", "pgdrover/shard/merge", true},
		{"shard", "net/http", false},
		{"shard/merge", "os", false},
		{"shard/reshard", "pgdrover/pooler", false},
		{"shard/reshard", "pgdrover/shard", true},
		{"shard/reshard", "net", true},
		{"internal/config", "pgdrover/shard", false},
		{"internal/connect", "pgdrover/internal/auth", true},
		{"internal/wire", "pgdrover/internal/config", false},
		{"internal/pgtest", "testing", true},
		{"internal/auth", "testing", false},
		{"internal/auth", "pgdrover", false},
		{"bench", "pgdrover/internal/pgtest", true},
		{"internal/app", "pgdrover/pooler", true},
		{"pooler", "pgdrover/internal/app", false},
		{".", "pgdrover/internal/app", true},
		{"admin", "pgdrover/bench", false},
		{"pooler", "log", false},
		{"pooler", "github.com/pganalyze/pg_query_go/v5", false},
		{"internal/sqlparse", "github.com/pganalyze/pg_query_go/v5", true},
		{"shard", "github.com/pganalyze/pg_query_go/v5", true},
	}
	for _, tt := range tests {
		if got := brokenRule(tt.dir, tt.imports) == nil; got != tt.allowed {
			t.Errorf("%s imports %s: got allowed = %v, want %v", tt.dir, tt.imports, got, tt.allowed)
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	t.Parallel()
	_, files := sources(t)
	documented := map[string]bool{}
	for _, f := range files {
		if !f.test { // a folder with nothing but tests explains itself
			documented[f.dir] = documented[f.dir] || f.syntax.Doc != nil && strings.TrimSpace(f.syntax.Doc.Text()) != ""
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("the package in %s has no doc comment: say in doc.go what it owns, what always holds, and its goroutines", dir)
		}
	}
}

func TestFilesHaveOneSubject(t *testing.T) {
	t.Parallel()
	_, files := sources(t)
	for _, f := range files {
		if strings.HasSuffix(f.path, "_tables.go") {
			continue // data, line by line, of one standard
		}
		if f.lines > maxLines && !ast.IsGenerated(f.syntax) {
			t.Errorf("%s has %d lines, more than %d: split it by subject", f.path, f.lines, maxLines)
		}
	}
}

func TestForbiddenCalls(t *testing.T) {
	t.Parallel()
	fset, files := sources(t)
	for _, f := range files {
		for _, msg := range forbiddenCalls(fset, f) {
			t.Error(msg)
		}
	}
}

// forbiddenCalls returns a message for each use of a function that a rule forbids in f.
func forbiddenCalls(fset *token.FileSet, f sourceFile) []string {
	packages := map[string]string{} // local name -> import path
	for _, imp := range f.syntax.Imports {
		p, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			continue // the parser has checked it
		}
		name := path.Base(p)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		packages[name] = p
	}
	var found []string
	for _, d := range f.syntax.Decls {
		fn, _ := d.(*ast.FuncDecl)
		ast.Inspect(d, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, r := range callRules {
				if packages[x.Name] == r.pkg && strings.HasPrefix(sel.Sel.Name, r.prefix) && r.applies(f, fn) {
					found = append(found, fmt.Sprintf("%s: %s.%s is not used here: %s", fset.Position(sel.Pos()), x.Name, sel.Sel.Name, r.reason))
				}
			}
			return true
		})
	}
	return found
}

func TestCallRulesForbidWhatTheyShould(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file, source string
		want         int
	}{
		{"a_test.go", `package a; import "time"; func TestX() { time.Sleep(1) }`, 1},
		{"a_test.go", `package a; import "time"; func eventually() { time.Sleep(1) }`, 0},
		{"a.go", `package a; import "time"; func x() { time.Sleep(1) }`, 0},
		{"a.go", `package a; import c "context"; func x() { c.TODO() }`, 1},
		{"a.go", `package a; import "os"; func x() { os.Exit(1) }`, 1},
		{"a.go", `package main; import "os"; func main() { os.Exit(1) }`, 0},
		{"a_test.go", `package a; import "os"; func TestMain() { os.Exit(1) }`, 0},
		{"a_test.go", `package a; import "os"; func TestX() { os.Exit(1) }`, 1},
		{"a.go", `package a; import "fmt"; var x, _ = fmt.Println()`, 1},
		{"a.go", `package a; import "fmt"; func x() { fmt.Fprintln(nil); fmt.Sprint() }`, 0},
		{"a.go", `package a; type T struct{}; func (T) Exit(int) {}; func x(os T) { os.Exit(1) }`, 0},
	}
	for _, tt := range tests {
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, tt.file, tt.source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		got := forbiddenCalls(fset, sourceFile{path: tt.file, test: strings.HasSuffix(tt.file, "_test.go"), syntax: syntax})
		if len(got) != tt.want {
			t.Errorf("%s\ngot  %q\nwant %d messages", tt.source, got, tt.want)
		}
	}
}
