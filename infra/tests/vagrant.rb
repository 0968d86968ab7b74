# Evaluates a Vagrantfile without Vagrant: says as JSON what it asked for. `ruby vagrant.rb FILE`
require "json"

# Remembers every call: `x.a.b = 1` as ["a.b=", 1]; a block of `define` gets a recorder of its own.
class Recorder
  def initialize(calls, machines, path = [])
    @calls, @machines, @path = calls, machines, path
  end

  def method_missing(name, *arguments, **options)
    return Recorder.new(@calls, @machines, @path + [name]) if arguments.empty? && options.empty?

    @calls << { call: (@path + [name]).join("."), arguments: arguments, options: options }
    return unless name == :define

    own = @machines[arguments[0]] = []
    yield Recorder.new(own, @machines)
  end

  def respond_to_missing?(*)
    true
  end
end

module Vagrant
  def self.configure(version)
    calls, machines = [], {}
    yield Recorder.new(calls, machines)
    puts JSON.generate(version: version, all: calls, machines: machines)
  end
end

load File.expand_path(ARGV[0])
