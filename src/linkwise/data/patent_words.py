"""The words of simulated patents: what things are, what they are like, and how applicants write."""

_MODIFIERS = """
acoustic adaptive adhesive aerodynamic alkaline anisotropic aqueous articulated autonomous biodegradable
bistable buoyant capacitive catalytic centrifugal ceramic coaxial collapsible colloidal composite
conductive conformal corrosion-resistant cryogenic crystalline damped detachable dielectric differential
digital disposable elastic electrochemical electromagnetic electrostatic encrypted epitaxial expandable
ferritic fibrous flame-retardant flexible fluorescent foldable galvanic granular heat-shrinkable
hermetic holographic hybrid hydraulic hydrophobic implantable inductive inertial inflatable infrared
interferometric ionic isothermal laminated laser-sintered layered luminescent magnetic magnetostrictive
membrane mesoporous metallic microfluidic modular molten multiplexed nanostructured neural nonwoven
optical oscillating osmotic oxidic perforated photonic photovoltaic piezoelectric pivoting plasma-coated
pneumatic polymeric porous predictive pressurised pulsed pyrolytic radiant reactive rechargeable
reciprocating recombinant reflective refractory regenerative resilient resonant reversible rotary
self-healing semiconducting shape-memory spherical spring-loaded stabilised stackable sterile submerged
superconducting synthetic tapered telescopic thermal thermoplastic torsional translucent transparent
ultrasonic vacuum vibrating viscous volatile water-soluble wearable wireless woven
"""
MODIFIERS = tuple(_MODIFIERS.split())

_HEADS = """
absorber accumulator actuator additive adsorbent aggregate alloy amplifier anchor antenna antibody
applicator atomiser bearing bellows binder blade blower bracket brake burner cable cannula capacitor
capsule carrier cartridge casing catalyst cathode cell chamber clamp classifier coating collector column
compressor condenser conduit connector conveyor coolant coupling crucible dampener decoder detector
diaphragm die dispenser display distillate drill drum electrode electrolyte emitter emulsion encoder
engine enzyme evaporator exchanger extruder fabric fastener feedstock fermenter fibre filament filler
film filter flange foam frame furnace gasket gear generator granulate gripper harness heater hinge
hopper housing impeller incubator inhibitor injector insulator inverter joint kiln laminate lattice lens
lever lining lock lubricant manifold mesh microphone mirror mixer mould nozzle oscillator oven pallet
pigment pipette piston polymer precipitate press printhead probe propeller pulley pump reactor receiver
rectifier reservoir resin rotor scaffold scanner screen seal semiconductor sensor separator servo shaft
sheath shutter sieve slurry solder solvent spindle spool stator stent substrate surfactant suspension
switch tank thermostat thread transducer transmitter turbine valve vessel waveguide weld winding yarn
"""
HEADS = tuple(_HEADS.split())

# {0} to {3}: terms. Which of these an applicant writes says who wrote, and little of what it is about.
SENTENCES = (
    "A {0} is arranged next to a {1}, so that the {2} is supplied without interruption.",
    "The {0} comprises a {1} and, downstream of it, a {2}.",
    "By means of the {0} the {1} is held at a distance from the {2}.",
    "In operation the {0} drives the {1}, whereas the {2} stays at rest.",
    "The {1} is connected to the {0} through a {2}.",
    "It is proposed to replace the {0} by a {1} that co-operates with a {2}.",
    "A signal of the {0} controls the {1} in dependence on the {2}.",
    "The {0} is obtained by treating a {1} in the presence of a {2}.",
)

OPENINGS = (
    "The present invention relates to a {0} with a {1}.",
    "Disclosed is a {0}, in particular for a {1}.",
    "A method and an apparatus for providing a {0} on a {1} are described.",
    "There is provided a {0} which includes a {1}.",
    "Embodiments include systems in which a {0} is combined with a {1}.",
    "The object is to improve a {0} having a {1}.",
)

CLOSINGS = (
    "Reliability is improved and the cost of manufacture is reduced.",
    "The arrangement is compact, easily maintained and suited to mass production.",
    "Other embodiments may be described and claimed.",
    "Less energy is consumed than by known devices of this kind.",
    "Various modifications are possible without departing from the scope of the invention.",
    "The quality of the product is thereby made uniform.",
)

CLAIMS = (
    "1. A device comprising a {0}, a {1} and a {2}.",
    "2. The device of claim 1, wherein the {0} is joined to a {1}.",
    "3. The device of claim 1 or 2, further comprising a {0} for the {1}.",
    "4. Use of the device of any preceding claim with a {0}.",
)
